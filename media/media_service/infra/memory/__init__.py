"""What one process remembers by itself."""
