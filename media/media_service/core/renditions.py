"""Renditions: the sizes of a medium that are served, and the recipes they are made by."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import re
from typing import Final

from media_service.core.errors import InvalidOptions

ENGINE_VERSION: Final = 1
"""Raised when the same recipe would give other bytes, so that its URLs change too."""

MAX_SIDE: Final = 16_384
MAX_FRAME_PIXELS: Final = 50_000_000
MAX_TOTAL_PIXELS: Final = 250_000_000
"""Of all frames together."""

MAX_BOX_PIXELS: Final = 4096
FULL: Final = "full"
_VERSION = re.compile(r"[0-9a-f]{10}")


def is_version(text: str) -> bool:
    """Whether this could be a `Recipe.version`."""
    return _VERSION.fullmatch(text) is not None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingOptions:
    """What a caller wants other than the purpose's policy; 0 is the policy's value."""

    generate_thumbnails: bool
    generate_blurhash: bool
    quality: int = 0
    max_width: int = 0
    max_height: int = 0

    def __post_init__(self) -> None:
        sides = (self.max_width, self.max_height)
        if not 0 <= self.quality <= 100 or any(not 0 <= s <= MAX_BOX_PIXELS for s in sides):
            raise InvalidOptions


class Shape(enum.StrEnum):
    """How a picture meets its box. Neither ever makes it larger than it was."""

    FIT = "fit"
    """Scaled down to fit within the box."""
    CROP = "crop"
    """Cut to the box's proportions around what draws attention, then scaled down to the box."""


class Encoding(enum.StrEnum):
    """What a rendition is saved as; the value is its content type."""

    JPEG = "image/jpeg"
    WEBP = "image/webp"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a rendition is made from an original: equal original and recipe, equal bytes."""

    shape: Shape
    width: int
    height: int
    quality: int
    encoding: Encoding
    animated: bool = False

    @property
    def key(self) -> str:
        """The recipe in one word, for instance `crop-150x150-q85-jpeg-1`."""
        return _names_of(self)[0]

    @property
    def version(self) -> str:
        """What stands as `v` in URLs: changes whenever the bytes would."""
        return _names_of(self)[1]

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of this rendition of an original of the given size, in pixels."""
        if self.shape is Shape.FIT:
            scale = min(1.0, self.width / width, self.height / height)
            return max(1, round(width * scale)), max(1, round(height * scale))
        scale = min(1.0, width / self.width, height / self.height)
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))


@functools.lru_cache(maxsize=4096)
def _names_of(recipe: Recipe) -> tuple[str, str]:
    """Key and version. Remembered: every delivery asks for them, and there are few recipes."""
    encoding = recipe.encoding.name.lower() + ("-moving" if recipe.animated else "")
    size = f"{recipe.width}x{recipe.height}"
    key = f"{recipe.shape}-{size}-q{recipe.quality}-{encoding}-{ENGINE_VERSION}"
    return key, hashlib.sha256(key.encode()).hexdigest()[:10]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """One size of one medium, as callers see it; `size_bytes` is 0 until it has been made."""

    name: str
    recipe: Recipe
    width: int
    height: int
    size_bytes: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a full decode of an original told of it. Sizes are upright, in pixels."""

    width: int
    height: int
    frames: int
    has_transparency: bool
    blurhash: str
    duration_ms: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailSpec:
    """One thumbnail a purpose's policy asks for."""

    name: str
    shape: Shape
    width: int
    height: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DevelopingPolicy:
    """What a purpose says of renditions: the box and quality of `full`, and the thumbnails."""

    full_width: int = 2048
    full_height: int = 2048
    full_quality: int = 92
    thumbnail_quality: int = 85
    thumbnails: tuple[ThumbnailSpec, ...] = ()


def plan_renditions(
    policy: DevelopingPolicy, *, options: ProcessingOptions | None, inspection: Inspection
) -> tuple[Rendition, ...]:
    """The renditions a medium will have: `full` first, then the thumbnails asked for.

    Animation is kept in `full`; thumbnails show the first frame. What has transparency or moves
    is saved as WebP, the rest as JPEG.
    """
    still = Encoding.WEBP if inspection.has_transparency else Encoding.JPEG
    quality = options.quality if options else 0
    moving = inspection.frames > 1
    full = Recipe(
        shape=Shape.FIT,
        width=(options.max_width if options else 0) or policy.full_width,
        height=(options.max_height if options else 0) or policy.full_height,
        quality=quality or policy.full_quality,
        encoding=Encoding.WEBP if moving else still,
        animated=moving,
    )
    wants_thumbnails = options is None or options.generate_thumbnails
    thumbnails = (
        (spec.name, _thumbnail_recipe(spec, quality or policy.thumbnail_quality, still))
        for spec in (policy.thumbnails if wants_thumbnails else ())
    )
    return tuple(_planned(name, recipe, inspection) for name, recipe in ((FULL, full), *thumbnails))


def _thumbnail_recipe(spec: ThumbnailSpec, quality: int, encoding: Encoding) -> Recipe:
    return Recipe(
        shape=spec.shape,
        width=spec.width,
        height=spec.height,
        quality=quality,
        encoding=encoding,
    )


def _planned(name: str, recipe: Recipe, inspection: Inspection) -> Rendition:
    width, height = recipe.size_of(inspection.width, inspection.height)
    return Rendition(name=name, recipe=recipe, width=width, height=height)
