"""What processes remember together: a cache in Redis or Valkey."""
