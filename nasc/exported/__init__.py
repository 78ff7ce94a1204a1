"""From an exported PyTorch program to a `.nas` file with one member and its weights."""
