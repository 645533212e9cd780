"""PNG headers: the chunks of ISO 15948, and those of animated PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from media_service.core.errors import BrokenFile, TooComplex
from media_service.infra.codecs.headers.apng import Animation, Chunk, read_animation
from media_service.infra.codecs.headers.exif import read_orientation
from media_service.infra.codecs.headers.limits import (
    Buffer,
    Header,
    MetadataBudget,
    check_pixels,
)

_MAX_CHUNKS: Final = 500_000
_CHUNK_OVERHEAD: Final = 12
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})


def read_png(data: Buffer) -> Header:
    """Raises as `read_header`."""
    budget = MetadataBudget()
    chunks: list[Chunk] = []
    width = height = 0
    orientation, profile = 1, b""
    for kind, at, length in _chunks(data):
        if not width:
            if kind != b"IHDR":
                raise BrokenFile
            width, height = struct.unpack_from(">II", data, at)
            check_pixels(width, height)
        if not _is_metadata(kind):
            chunks.append((kind, at, length))
            _check_sum(data, at=at, length=length)
            continue
        budget.spend(length + _CHUNK_OVERHEAD)
        unpacked = _unpack(kind, data[at : at + length], budget)
        if kind == b"eXIf":
            orientation = read_orientation(unpacked)
        elif kind == b"iCCP":
            profile = unpacked
    animation = read_animation(data, chunks)
    return Header(
        width=width,
        height=height,
        frames=len(animation.frames) if animation else 1,
        orientation=orientation,
        profile=profile,
    )


def animation_of(data: Buffer) -> Animation | None:
    """What moves in a PNG that `read_png` has read."""
    return read_animation(data, _chunks(data))


def _check_sum(data: Buffer, *, at: int, length: int) -> None:
    """Raise BrokenFile for a chunk that isn't what was written; the decoder skips the last one."""
    with memoryview(data) as view:
        found = zlib.crc32(view[at - 4 : at + length])
    if struct.unpack_from(">I", data, at + length) != (found,):
        raise BrokenFile


def _is_metadata(kind: bytes) -> bool:
    """Whether a decoder may skip the chunk: its name then begins with a small letter."""
    return bool(kind[0] & 0x20) and kind not in _ANIMATION


def _chunks(data: Buffer) -> Iterator[Chunk]:
    """Name, offset and length of every chunk. Raises BrokenFile if the last one is missing."""
    at = 8
    for _ in range(_MAX_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at + 8, length
        at += _CHUNK_OVERHEAD + length
        if at > len(data):
            raise BrokenFile
        if kind == b"IEND":
            return
    raise TooComplex


def _unpack(kind: bytes, chunk: bytes, budget: MetadataBudget) -> bytes:
    """The chunk's content, its unpacked size counted too: decoders unpack text and profiles."""
    if kind not in (b"zTXt", b"iCCP", b"iTXt"):
        return chunk
    packed = chunk.partition(b"\0")[2]
    if kind == b"iTXt":
        if packed[:1] != b"\1":
            return chunk
        packed = b"\0" + packed[2:].partition(b"\0")[2].partition(b"\0")[2]
    try:
        unpacked = zlib.decompressobj().decompress(packed[1:], budget.left_bytes + 1)
    except zlib.error:
        return b""
    budget.spend(len(unpacked))
    return unpacked
