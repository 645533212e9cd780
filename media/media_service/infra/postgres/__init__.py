"""Rows, locks, jobs and schema in PostgreSQL."""
