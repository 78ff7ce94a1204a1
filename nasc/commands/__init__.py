"""The subcommands of the `nasc` command line, one module each."""
