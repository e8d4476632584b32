"""How each operation couples channels, in one table."""
