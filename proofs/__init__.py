"""Proofs: the real service, broken on purpose, and a count of what was lost."""
