"""Headers that answers share."""

from __future__ import annotations

Header = tuple[bytes, bytes]

SAFETY: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"cross-origin-resource-policy", b"cross-origin"),
)
"""On every answer: whatever a browser is given, it neither guesses its type nor runs it."""

NO_STORE: Header = (b"cache-control", b"no-store")
CLOSE: Header = (b"connection", b"close")
JSON: Header = (b"content-type", b"application/json")


def content_length(length: int) -> Header:
    """How long the body is."""
    return (b"content-length", b"%d" % length)
