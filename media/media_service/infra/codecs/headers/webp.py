"""WebP headers: the RIFF chunks of RFC 9649."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from media_service.core.errors import BrokenFile, TooComplex
from media_service.infra.codecs.headers.exif import read_orientation
from media_service.infra.codecs.headers.limits import MAX_FRAMES, Buffer, Header, MetadataBudget

_PIXELS = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"})
_MAX_CHUNKS: Final = MAX_FRAMES + 1000


def read_webp(data: Buffer) -> Header:
    """Raises as `read_header`."""
    budget = MetadataBudget()
    size = (0, 0)
    frames = 0
    orientation, profile = 1, b""
    for kind, at, length in _chunks(data):
        if kind not in _PIXELS:
            budget.spend(length + 8)
        if kind in (b"VP8 ", b"VP8L", b"VP8X"):
            size = size if any(size) else _size_of(kind, data[at : at + 10])
        elif kind == b"ANMF":
            frames += 1
        elif kind == b"ICCP":
            profile = data[at : at + length]
        elif kind == b"EXIF":
            orientation = read_orientation(data[at : at + length])
    return Header(
        width=size[0],
        height=size[1],
        frames=max(frames, 1),
        orientation=orientation,
        profile=profile,
    )


def _chunks(data: Buffer) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset and length of every chunk. Raises BrokenFile if the file ends too early."""
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    end = riff_bytes + 8
    if end > len(data):
        raise BrokenFile
    at = 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > end:
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > end:
            raise BrokenFile
        yield kind, at + 8, length
        at += 8 + length + (length & 1)
    raise TooComplex


def _size_of(kind: bytes, start: bytes) -> tuple[int, int]:
    """Width and height from a chunk's first ten bytes."""
    if kind == b"VP8X":
        width, height = (int.from_bytes(start[i : i + 3], "little") + 1 for i in (4, 7))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", start, 1)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", start, 6))
    return width, height
