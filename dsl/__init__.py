"""The .nas language: syntax tree, parser, diagnostics and formatter."""
