"""Forms as clients send them, good and bad."""

from __future__ import annotations

BOUNDARY = b"----form7f3a"


def part(
    content: bytes,
    *,
    disposition: str = 'form-data; name="file"; filename="me.png"',
    headers: tuple[str, ...] = ("Content-Type: image/png",),
    boundary: bytes = BOUNDARY,
) -> bytes:
    """One part with its delimiter before it."""
    lines = [f"Content-Disposition: {disposition}", *headers] if disposition else list(headers)
    head = "".join(f"{line}\r\n" for line in lines).encode()
    return b"--" + boundary + b"\r\n" + head + b"\r\n" + content + b"\r\n"


def end(boundary: bytes = BOUNDARY) -> bytes:
    """The delimiter after the last part."""
    return b"--" + boundary + b"--\r\n"


def form(content: bytes, **fields: str | tuple[str, ...]) -> bytes:
    """A form with one file."""
    return part(content, **fields) + end()  # type: ignore[arg-type]
