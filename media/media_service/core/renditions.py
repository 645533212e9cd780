"""Renditions: what is served of a medium, and in which order it is made."""

from __future__ import annotations

import dataclasses
import enum
from typing import Final

from media_service.core.errors import InvalidOptions
from media_service.core.recipes import Recipe

MAX_SIDE: Final = 16_384
MAX_FRAME_PIXELS: Final = 50_000_000
MAX_MOVING_FRAME_PIXELS: Final = 4096 * 4096
"""Of each frame where there are several: decoders hold some others beside it."""
MAX_TOTAL_PIXELS: Final = 250_000_000
"""Of all frames of a picture together."""

MAX_BOX_PIXELS: Final = 4096
FULL: Final = "full"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingOptions:
    """What a caller wants other than the purpose's policy; 0 is the policy's value."""

    generate_thumbnails: bool
    generate_blurhash: bool
    quality: int = 0
    max_width: int = 0
    max_height: int = 0
    normalize_loudness: bool = False

    def __post_init__(self) -> None:
        sides = (self.max_width, self.max_height)
        if not 0 <= self.quality <= 100 or any(not 0 <= s <= MAX_BOX_PIXELS for s in sides):
            raise InvalidOptions


class Stage(enum.IntEnum):
    """How far a medium can be used, in the order in which its renditions are made."""

    PREVIEW = 1
    """It can be shown: made within seconds, so a reader who is faster has it made."""
    PLAYABLE = 2
    """It plays. From here on only jobs make renditions: readers are told to come back."""
    COMPLETE = 3
    """Everything is there."""

    @property
    def is_slow(self) -> bool:
        """Whether it takes minutes, so that only jobs make what belongs to it."""
        return self is not Stage.PREVIEW


class Role(enum.StrEnum):
    """What a rendition is to callers."""

    RENDITION = "rendition"
    THUMBNAIL = "thumbnail"
    PART = "part"
    """Only what names it needs it: a stream's playlists and segments. In no answer."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """One rendition of one medium, as callers see it; `size_bytes` is 0 until it has been made."""

    name: str
    recipe: Recipe
    width: int
    height: int
    size_bytes: int = 0
    stage: Stage = Stage.PREVIEW
    role: Role = Role.RENDITION

    @property
    def is_shown(self) -> bool:
        """Whether answers list it: what readers can't have made, only once it is there."""
        if self.role is Role.PART:
            return False
        return not self.stage.is_slow or self.size_bytes > 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a look at the whole of an original told of it. Sizes are upright, in pixels.

    `has_video`, `has_audio`: whether it has such a stream that we decode. A file of a container
    for films that has only sound is a sound. `content_type`: of the format it turned out to be,
    where that took more than its first bytes; else empty.
    """

    width: int
    height: int
    frames: int
    has_transparency: bool
    blurhash: str
    duration_ms: int = 0
    has_video: bool = False
    has_audio: bool = False
    pages: int = 0
    content_type: str = ""
