"""Published networks written as .nas files."""
