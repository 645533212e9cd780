"""Headers that answers share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import NamedTuple

Header = tuple[bytes, bytes]

SAFETY: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"cross-origin-resource-policy", b"cross-origin"),
)
"""On every answer: whatever a browser is given, it neither guesses its type nor runs it."""

READABLE: tuple[Header, ...] = (
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"Accept-Ranges, Content-Length, Content-Range, ETag, Retry-After, X-Request-Id",
    ),
)
"""On every answer of delivery: pages of any origin may read it (CORS).

Never with credentials: a URL alone is what opens it, so a page reads what it could link to. The
same whatever the origin, so that caches keep one answer for all.
"""
PREFLIGHT: tuple[Header, ...] = (
    *READABLE,
    (b"access-control-allow-methods", b"GET, HEAD"),
    (b"access-control-allow-headers", b"Range, If-Range, If-None-Match, X-Request-Id"),
    (b"access-control-max-age", b"86400"),
)
"""What a browser is told that asks before a request of another origin; the same for any URL."""

NO_STORE: Header = (b"cache-control", b"no-store")
VARY_ACCEPT: Header = (b"vary", b"Accept")
CLOSE: Header = (b"connection", b"close")
JSON: Header = (b"content-type", b"application/json")

_STATUS_LINES: Mapping[int, bytes] = {
    int(status): f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


def status_line(status: int) -> bytes:
    """The first line of an answer."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def content_length(length: int) -> Header:
    """How long the body is."""
    return (b"content-length", b"%d" % length)


class Block(NamedTuple):
    """Headers that many answers have in common, and the same as they stand on the wire."""

    headers: tuple[Header, ...]
    lines: bytes
    body_bytes: int | None
    """What the headers say of the body's length, if they do."""


def block(headers: Iterable[Header], *, body_bytes: int | None = None) -> Block:
    """The headers as a block, that of the body's length among them if it is given."""
    complete = (*headers, *(() if body_bytes is None else (content_length(body_bytes),)))
    return Block(complete, lines_of(complete), body_bytes)


def lines_of(headers: Iterable[Header]) -> bytes:
    """The headers as they stand on the wire. Raises ValueError for one that breaks its line."""
    lines = [b"%s: %s\r\n" % header for header in headers]
    joined = b"".join(lines)
    if joined.count(b"\r") != len(lines) or joined.count(b"\n") != len(lines):
        raise ValueError("a header holds a line break")
    return joined
