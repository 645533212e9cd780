"""Range requests (RFC 9110, section 14): which part of a content is asked for.

Pure functions of header values. Only a single range is ever given: of several, or of what is
none, the specification allows the whole, and the whole costs no more than twice what was meant.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SINGLE = re.compile(rb"bytes=([0-9]*)-([0-9]*)", re.IGNORECASE)
_MAX_DIGITS = 18
_BEYOND_ANY_SIZE = 10**_MAX_DIGITS


class ByteRange(NamedTuple):
    """A part of a content: never empty, never beyond its end."""

    start: int
    length: int

    def of(self, size: int) -> bytes:
        """The part as it stands in Content-Range, of a content of this size."""
        return b"bytes %d-%d/%d" % (self.start, self.start + self.length - 1, size)


class RangeNotSatisfiable(Exception):
    """The content has no such part."""


def parse_range(value: bytes, *, size: int) -> ByteRange | None:
    """The part of a content of this size that a Range header asks for; None is the whole.

    Raises RangeNotSatisfiable if it asks for one that begins beyond the end, or is empty.
    """
    match = _SINGLE.fullmatch(value)
    if match is None or match.group(0)[-2:] == b"=-":
        return None
    first, last = match.groups()
    if not first:
        return _suffix(_number(last), size)
    start, end = _number(first), _number(last) if last else _BEYOND_ANY_SIZE
    if start > end:
        return None
    if start >= size:
        raise RangeNotSatisfiable
    return ByteRange(start, min(end + 1, size) - start)


def _suffix(length: int, size: int) -> ByteRange:
    length = min(length, size)
    if length == 0:
        raise RangeNotSatisfiable
    return ByteRange(size - length, length)


def _number(digits: bytes) -> int:
    """The number, or one beyond any size: thousands of digits must not cost anything."""
    significant = digits.lstrip(b"0")
    return int(significant or b"0") if len(significant) <= _MAX_DIGITS else _BEYOND_ANY_SIZE
