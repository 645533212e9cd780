"""What a picture's header says. No pixel is decoded."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping

from media_client.errors import BrokenFile, TooManyPixels, UnsupportedType

_SMALLEST_BYTES = 12
_MOST_PIXELS = 50_000_000
_LONGEST_SIDE = 16_384
_HEIF_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "image/heic"),
}
_LYING = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture by its header; sizes are upright."""

    content_type: str
    width: int
    height: int
    is_transparent: bool = False
    is_animated: bool = False

    @property
    def still_type(self) -> str:
        """What renditions that don't move are saved as."""
        return "image/webp" if self.is_transparent else "image/jpeg"

    @property
    def full_type(self) -> str:
        """What `full` is saved as."""
        return "image/webp" if self.is_animated else self.still_type


def look_at(data: bytes) -> Picture:
    """The picture in these bytes. Raises UnsupportedType, BrokenFile, TooManyPixels."""
    if len(data) < _SMALLEST_BYTES:
        raise BrokenFile
    content_type = sniff(data)
    try:
        picture = _READERS[content_type](data)
    except (LookupError, ValueError):
        raise BrokenFile from None
    if not picture.width or not picture.height:
        raise BrokenFile
    if picture.width * picture.height > _MOST_PIXELS:
        raise TooManyPixels
    if max(picture.width, picture.height) > _LONGEST_SIDE:
        raise TooManyPixels
    return picture


def sniff(data: bytes) -> str:
    """The content type that the first bytes show. Raises UnsupportedType."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return _HEIF_BRANDS[data[8:12]]
    raise UnsupportedType


def _png(data: bytes) -> Picture:
    data.rindex(b"IEND")
    return Picture(
        content_type="image/png",
        width=_big(data, 16, 4),
        height=_big(data, 20, 4),
        is_transparent=data[25] in (4, 6) or b"tRNS" in data[:4096],
        is_animated=b"acTL" in data[:4096],
    )


def _gif(data: bytes) -> Picture:
    data.rindex(b"\x3b", 13)
    return Picture(
        content_type="image/gif",
        width=_little(data, 6, 2),
        height=_little(data, 8, 2),
        is_animated=data.count(b"\x21\xf9\x04") > 1,
    )


def _webp(data: bytes) -> Picture:
    if _little(data, 4, 4) + 8 > len(data):
        raise BrokenFile
    kind = data[12:16]
    if kind == b"VP8X":
        flags, width, height = data[20], _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
        is_transparent, is_animated = bool(flags & 0x10), bool(flags & 0x02)
    elif kind == b"VP8L":
        bits = _little(data, 21, 4)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        is_transparent, is_animated = bool(bits >> 28 & 1), False
    else:
        width, height = _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
        is_transparent = is_animated = False
    return Picture(
        content_type="image/webp",
        width=width,
        height=height,
        is_transparent=is_transparent,
        is_animated=is_animated,
    )


def _heif(data: bytes) -> Picture:
    sizes = [m.end() for m in re.finditer(b"ispe", data[:65536])]
    width, height = max((_big(data, at + 4, 4), _big(data, at + 8, 4)) for at in sizes)
    return Picture(content_type=sniff(data), width=width, height=height)


def _jpeg(data: bytes) -> Picture:
    data.rindex(b"\xff\xd9")
    at, is_lying = 2, False
    while True:
        marker, size = data[at + 1], _big(data, at + 2, 2)
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            is_lying = _orientation(data[at + 10 : at + 2 + size]) in _LYING
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            sides = _big(data, at + 7, 2), _big(data, at + 5, 2)
            width, height = reversed(sides) if is_lying else sides
            return Picture(content_type="image/jpeg", width=width, height=height)
        at += 2 + size


def _orientation(tiff: bytes) -> int:
    """How the camera was held, 1 to 8, as the first directory of TIFF data says."""
    order: Callable[[bytes, int, int], int] = _little if tiff.startswith(b"II") else _big
    first = order(tiff, 4, 4)
    entries = (first + 2 + 12 * n for n in range(order(tiff, first, 2)))
    return next((order(tiff, at + 8, 2) for at in entries if order(tiff, at, 2) == 0x0112), 1)


def _big(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(_exactly(data, at, size), "big")


def _little(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(_exactly(data, at, size), "little")


def _exactly(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise BrokenFile
    return data[at : at + size]


_READERS: Mapping[str, Callable[[bytes], Picture]] = {
    "image/jpeg": _jpeg,
    "image/png": _png,
    "image/gif": _gif,
    "image/webp": _webp,
    "image/avif": _heif,
    "image/heic": _heif,
}
