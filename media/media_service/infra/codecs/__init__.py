"""Decoding and encoding, in processes that may die of it."""
