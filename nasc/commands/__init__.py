"""The commands of `nasc`, one module each, imported when the command runs."""
