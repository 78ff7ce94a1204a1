"""The `nasc` command line."""

import click

from nasc import __version__


@click.group()
@click.version_option(__version__, prog_name="nasc")
def main() -> None:
    """Compile, search and profile neural-architecture-search spaces."""
