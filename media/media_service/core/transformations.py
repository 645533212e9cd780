"""Transformations: pictures that are made when somebody asks for them, by what stands in the URL.

    fit:640:480                       scaled down to fit within 640 x 480
    fill:640:480                      cut to these proportions around what draws attention, scaled
    crop:640:480                      the same around the middle
    crop:640:480,focus:0.25:0.5       the same around a point: shares of width and height
    fit:640:480,q:70                  in this quality, 1 to 100
    fit:640:480,q:70.webp             as .jpg, .webp or .avif; else as what the reader takes

Each has one spelling: parts in this order, no part that says what would be so without it, no
leading or trailing zero. So each is one URL, and one entry in caches.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import re
from collections.abc import Mapping
from typing import Final

from media_service.core.errors import InvalidTransformation
from media_service.core.media import Media, MediaType
from media_service.core.recipes import Encoding, PictureRecipe, Shape
from media_service.core.renditions import MAX_BOX_PIXELS

DEFAULT_QUALITY: Final = 85
MOST_OF_ONE_ORIGINAL: Final = 64
"""So many are kept of one original; then the oldest goes for the newest."""

EXTENSIONS: Final[Mapping[str, Encoding]] = {
    "jpg": Encoding.JPEG,
    "webp": Encoding.WEBP,
    "avif": Encoding.AVIF,
}
_MIDDLE: Final = (50, 50)
_SIDE = "[1-9][0-9]{0,3}"
_SHARE = r"0|1|0\.[0-9]?[1-9]"
_SPELLING = re.compile(
    rf"(?P<operation>[a-z]+):(?P<width>{_SIDE}):(?P<height>{_SIDE})"
    rf"(?:,focus:(?P<x>{_SHARE}):(?P<y>{_SHARE}))?"
    r"(?:,q:(?P<quality>[1-9][0-9]?|100))?"
    r"(?:\.(?P<extension>[a-z]+))?"
)


class Operation(enum.StrEnum):
    """How a transformation meets its box. None ever makes a picture larger than it was."""

    FIT = "fit"
    FILL = "fill"
    CROP = "crop"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Transformation:
    """One transformation. `focus` is in hundredths of the sides; no encoding: as readers take."""

    operation: Operation
    width: int
    height: int
    focus: tuple[int, int] | None = None
    quality: int = DEFAULT_QUALITY
    encoding: Encoding | None = None

    @property
    def spelled(self) -> str:
        """As it stands in URLs."""
        parts = [f"{self.operation}:{self.width}:{self.height}"]
        if self.focus not in (None, _MIDDLE):
            parts.append("focus:" + ":".join(f"{share / 100:.4g}" for share in self.focus or ()))
        if self.quality != DEFAULT_QUALITY:
            parts.append(f"q:{self.quality}")
        ends = {encoding: f".{name}" for name, encoding in EXTENSIONS.items()}
        return ",".join(parts) + (ends[self.encoding] if self.encoding else "")

    def recipe(self, encoding: Encoding) -> PictureRecipe:
        """How it is made for a reader who takes this; what it says itself comes first."""
        return PictureRecipe(
            shape=Shape.FIT if self.operation is Operation.FIT else Shape.CROP,
            width=self.width,
            height=self.height,
            quality=self.quality,
            encoding=self.encoding or encoding,
            focus=self.focus,
            transformed=True,
        )

    @property
    def version(self) -> str:
        """What stands as `v` in its URL: changes whenever one of its outcomes would."""
        return _version(self)


@functools.lru_cache(maxsize=4096)
def _version(transformation: Transformation) -> str:
    keys = " ".join(transformation.recipe(encoding).key for encoding in Encoding)
    return hashlib.sha256(keys.encode()).hexdigest()[:10]


@functools.lru_cache(maxsize=4096)
def parse_transformation(text: str) -> Transformation:
    """The transformation that is spelled so. Raises InvalidTransformation for any other text."""
    match = _SPELLING.fullmatch(text)
    if match is None or match["operation"] not in set(Operation):
        raise InvalidTransformation
    operation, extension = Operation(match["operation"]), match["extension"]
    if extension and extension not in EXTENSIONS:
        raise InvalidTransformation
    named = tuple(round(100 * float(share)) for share in (match["x"], match["y"]) if share)
    point = (named[0], named[1]) if named else _MIDDLE
    transformation = Transformation(
        operation=operation,
        width=int(match["width"]),
        height=int(match["height"]),
        focus=point if operation is Operation.CROP else None,
        quality=int(match["quality"] or DEFAULT_QUALITY),
        encoding=EXTENSIONS[extension] if extension else None,
    )
    if transformation.spelled != text:
        raise InvalidTransformation
    return transformation


def is_transformation(name: str) -> bool:
    """Whether this can only be meant as a transformation: no rendition has such a name."""
    return ":" in name


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """Which transformations there are; without `sides`, those of all sides up to 4096."""

    sides: frozenset[int] | None = None

    def require(self, text: str) -> Transformation:
        """The transformation that is spelled so. Raises InvalidTransformation unless offered."""
        transformation = parse_transformation(text)
        for side in (transformation.width, transformation.height):
            if side > MAX_BOX_PIXELS or (self.sides is not None and side not in self.sides):
                raise InvalidTransformation
        return transformation


def parse_sides(text: str) -> Offer:
    """What a list of sides offers; `any` offers all. Raises ValueError for what is no such list."""
    if text.strip() == "any":
        return Offer()
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(_SIDE, part) and int(part) <= MAX_BOX_PIXELS for part in parts):
        raise ValueError(f"a list of pixels a side, each 1 to {MAX_BOX_PIXELS}, or any")
    return Offer(frozenset(map(int, parts)))


def require_picture(media: Media) -> None:
    """Raise InvalidTransformation unless the medium can be shown: sounds and most files can't."""
    if media.media_type not in (MediaType.IMAGE, MediaType.VIDEO) and not media.pages:
        raise InvalidTransformation
