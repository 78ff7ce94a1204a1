"""nasc: a compiler for neural-architecture-search spaces."""

__version__ = "0.1.0"
