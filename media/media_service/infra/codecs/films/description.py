"""What a film is, as far as making others of it is concerned."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Final, Self

from media_service.core.errors import BrokenFile
from media_service.core.renditions import MAX_SIDE

Size = tuple[int, int]
"""Width and height in pixels."""

_WORD = re.compile(r"[a-z0-9_]{2,32}")
_MOST: Final[Mapping[str, float]] = {
    "width": MAX_SIDE,
    "height": MAX_SIDE,
    "stream": 63,
    "audio_stream": 63,
    "channels": 64,
    "sample_rate": 768_000,
    "audio_bit_rate": 1e10,
    "bit_rate": 1e11,
    "frame_rate": 1000,
    "frames": 10_000,
    "seconds": 1e6,
    "end": 1e6,
    "level": 255,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A film's streams; `width` and `height` are as people see it: upright, of square pixels.

    `transfer`, `primaries` and `matrix` are the numbers of ISO/IEC 23091-2, 2 where it doesn't
    say. `is_plain`: pixels are square, no picture is mirrored. `is_interlaced`: every other line
    is of a later moment. `audio_stream` is -1 without sound. `frames` are counted in moving
    pictures only, whose `seconds` are the most they can take, and `end` when their last one ends.
    `is_cut`: there is more in the file than is to be seen or heard of it. `is_paused`: a picture
    stays for over half a second, as in recordings of screens.
    """

    demuxer: str
    seconds: float
    bit_rate: int = 0
    stream: int = 0
    codec: str
    profile: str = ""
    level: int = 0
    pixel_format: str = "yuv420p"
    width: int
    height: int
    is_plain: bool = True
    is_interlaced: bool = False
    is_cut: bool = False
    is_paused: bool = False
    frame_rate: float = 30.0
    frames: int = 0
    end: float = 0.0
    transfer: int = 2
    primaries: int = 2
    matrix: int = 2
    audio_stream: int = -1
    audio_codec: str = ""
    audio_profile: str = ""
    audio_bit_rate: int = 0
    channels: int = 0
    sample_rate: int = 0

    @classmethod
    def told(cls, answer: Mapping[str, Any]) -> Self:
        """What a cell told, checked as anyone else's. Raises BrokenFile for what can't be."""
        film: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            value = answer.get(field.name)
            if type(value).__name__ != field.type:
                raise BrokenFile
            film[field.name] = value
        if any(not _WORD.fullmatch(film[name]) for name in ("demuxer", "codec")):
            raise BrokenFile
        if any(not -1 <= film[name] <= most for name, most in _MOST.items()):
            raise BrokenFile
        if min(film["width"], film["height"], film["frame_rate"], film["seconds"]) <= 0:
            raise BrokenFile
        return cls(**film)
