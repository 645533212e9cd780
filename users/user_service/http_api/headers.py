"""Headers that answers share."""

from __future__ import annotations

from urllib.parse import urlsplit

Header = tuple[bytes, bytes]

SAFETY: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
"""On every answer: what a browser is given, it neither guesses nor shares nor frames."""

NO_STORE: Header = (b"cache-control", b"no-store")
CLOSE: Header = (b"connection", b"close")
JSON: Header = (b"content-type", b"application/json")
INERT: Header = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""For what is no page: a browser that shows it all the same loads nothing and runs nothing."""


def page_policy(media_public_url: str) -> Header:
    """For our pages: their own files, media of the media service, and nothing else.

    Streams come by `connect-src`, piece by piece, and play as a `blob:` that the page fills.
    """
    parts = urlsplit(media_public_url)
    media = f"{parts.scheme}://{parts.netloc}"
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        f"img-src 'self' blob: data: {media}; media-src blob: {media}; "
        f"connect-src 'self' {media}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return (b"content-security-policy", policy.encode())


def content_length(length: int) -> Header:
    """How long the body is."""
    return (b"content-length", b"%d" % length)
