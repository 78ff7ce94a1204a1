"""Supernet modules, search, profiling, training and reports."""
