"""Accounts, tokens and profiles: the first caller of the media service."""
