"""GIF headers: the blocks of GIF89a."""

from __future__ import annotations

import struct
from typing import Final

from media_service.core.errors import BrokenFile
from media_service.infra.codecs.headers.limits import (
    Buffer,
    Header,
    MetadataBudget,
    check_pixels,
)

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL: Final = 0xF9


def read_gif(data: Buffer) -> Header:
    """Raises as `read_header`.

    Raises BrokenFile unless every block is whole and the trailer is there: the decoder pads
    what is missing and never says so.
    """
    budget = MetadataBudget()
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    check_pixels(width, height)
    frames = 0
    at = 13 + _palette_bytes(flags)
    while (introducer := data[at]) != _TRAILER:
        if introducer == _EXTENSION:
            end = _skip_sub_blocks(data, at + 2)
            if data[at + 1] != _GRAPHIC_CONTROL:
                budget.spend(end - at)
            at = end
        elif introducer == _IMAGE:
            left, top, frame_width, frame_height, flags = struct.unpack_from("<HHHHB", data, at + 1)
            width, height = max(width, left + frame_width), max(height, top + frame_height)
            frames += 1
            check_pixels(width, height, frames=frames)
            at = _skip_sub_blocks(data, at + 11 + _palette_bytes(flags))
        else:
            raise BrokenFile
    return Header(width=width, height=height, frames=frames)


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_sub_blocks(data: Buffer, at: int) -> int:
    """Where the sub-blocks that begin here end. Raises IndexError if the file ends first."""
    while length := data[at]:
        at += 1 + length
    return at + 1
