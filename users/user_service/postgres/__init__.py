"""The rows in PostgreSQL: SQL beside the function that runs it."""
