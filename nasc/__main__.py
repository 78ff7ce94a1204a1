"""Lets `python -m nasc` stand for the `nasc` command."""

from nasc.cli import main

if __name__ == "__main__":
    main(prog_name="nasc")
