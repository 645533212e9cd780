"""Measures what the project claims: ratios against a named reference, in one run, with memory."""
