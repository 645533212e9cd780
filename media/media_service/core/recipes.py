"""Recipes: how renditions are made of originals. Equal original and recipe, equal bytes.

Each recipe is a frozen value with a `key` (one word of small letters, digits and dashes, which is
part of where the bytes lie), a `version` (what stands as `v` in URLs), a `content_type`, and a
`size_of` that tells the width and height of what it makes, in pixels (0 for what has none).
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import re
from typing import ClassVar, Final

PLAYLIST: Final = "application/vnd.apple.mpegurl"
"""The content type of playlists (RFC 8216)."""
_VERSION = re.compile(r"[0-9a-f]{10}")
_STREAM_NAME = re.compile(r"hls(?:-([1-9][0-9]{0,4})(-segments)?)?")


def is_version(text: str) -> bool:
    """Whether this could be the version of a recipe."""
    return _VERSION.fullmatch(text) is not None


@functools.lru_cache(maxsize=4096)
def version_of(key: str) -> str:
    """The version of the recipe of this key.

    Remembered: every delivery asks for it, and there are few recipes.
    """
    return hashlib.sha256(key.encode()).hexdigest()[:10]


TRANSFORMED: Final = "transformed-"
"""What the keys of recipes begin with that were asked for by a URL."""


class Shape(enum.StrEnum):
    """How a picture meets its box. None ever makes it larger than it was."""

    FIT = "fit"
    """Scaled down to fit within the box."""
    CROP = "crop"
    """Cut to the box's proportions around what draws attention, or a point; then scaled down."""


class Encoding(enum.StrEnum):
    """What a picture is saved as; the value is its content type."""

    JPEG = "image/jpeg"
    WEBP = "image/webp"
    AVIF = "image/avif"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PictureRecipe:
    """A picture of a picture, of a film's poster frame, a document's first page, a sound's wave.

    `animated`: a moving picture keeps moving; a film is shown in a few of its frames. `focus`:
    the point to crop around, in hundredths of width and height; None is what draws attention.
    `transformed`: asked for by a URL, not by a medium's plan, and kept apart from those that are.
    """

    ENGINE: ClassVar[int] = 1
    """Raised when the same recipe would give other bytes, so that its URLs change too."""

    shape: Shape
    width: int
    height: int
    quality: int
    encoding: Encoding
    animated: bool = False
    focus: tuple[int, int] | None = None
    transformed: bool = False

    @property
    def key(self) -> str:
        """The recipe in one word, for instance `crop-150x150-q85-jpeg-1`."""
        return _picture_key(self)

    @property
    def version(self) -> str:
        """What stands as `v` in URLs: changes whenever the bytes would."""
        return version_of(self.key)

    @property
    def content_type(self) -> str:
        """What its bytes are."""
        return self.encoding.value

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of this rendition of an original of the given size, in pixels."""
        if self.shape is Shape.FIT:
            scale = min(1.0, self.width / width, self.height / height)
            return max(1, round(width * scale)), max(1, round(height * scale))
        scale = min(1.0, width / self.width, height / self.height)
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))


@functools.lru_cache(maxsize=4096)
def _picture_key(recipe: PictureRecipe) -> str:
    encoding = recipe.encoding.name.lower() + ("-moving" if recipe.animated else "")
    size = f"{recipe.width}x{recipe.height}"
    focus = f"-at-{recipe.focus[0]}-{recipe.focus[1]}" if recipe.focus else ""
    word = f"{recipe.shape}-{size}{focus}-q{recipe.quality}-{encoding}-{recipe.ENGINE}"
    return TRANSFORMED + word if recipe.transformed else word


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FilmRecipe:
    """One file that plays everywhere as it arrives: MP4, H.264 (yuv420p), AAC, fast start.

    An original that plays everywhere already is remuxed, whatever its size. `short_side` is the
    most pixels of the shorter side, `frame_rate` the most frames a second; `silent` leaves out
    the sound (what was a moving picture has none).
    """

    ENGINE: ClassVar[int] = 1

    short_side: int
    frame_rate: int
    silent: bool = False

    @property
    def key(self) -> str:
        """For instance `film-720p-60fps-1`."""
        sound = "-silent" if self.silent else ""
        return f"film-{self.short_side}p-{self.frame_rate}fps{sound}-{self.ENGINE}"

    @property
    def version(self) -> str:
        """What stands as `v` in URLs."""
        return version_of(self.key)

    @property
    def content_type(self) -> str:
        """What its bytes are."""
        return "video/mp4"

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the film, if it is transcoded; even numbers, as H.264 wants them."""
        return even_size(width, height, short_side=self.short_side)


class StreamPart(enum.StrEnum):
    """A part of an HLS stream (RFC 8216)."""

    MASTER = "master"
    """The multivariant playlist, which names the playlist of each rung."""
    PLAYLIST = "playlist"
    """The playlist of one rung, which names byte ranges of its segments' file."""
    SEGMENTS = "segments"
    """The fragmented MP4 of one rung: all its segments, in one file."""


def _stream_key(part: StreamPart, short_side: int, stream: str) -> str:
    rung = f"-{short_side}p" if short_side else ""
    return f"hls-{part}{rung}-of-{stream}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamRecipe:
    """One part of an HLS stream; all parts of a stream are made in one go.

    `rungs` are the shorter sides of all its rungs in pixels, ascending; `short_side` is the one
    this part is of, 0 for the master. In playlists, a URI is the name of another rendition of the
    same medium (see `stream_name`); whoever delivers them puts the URL there.
    """

    ENGINE: ClassVar[int] = 1

    part: StreamPart
    short_side: int
    rungs: tuple[int, ...]
    frame_rate: int

    @property
    def key(self) -> str:
        """For instance `hls-playlist-360p-of-360-720-60fps-1`."""
        rungs = "-".join(map(str, self.rungs))
        stream = f"{rungs}-{self.frame_rate}fps-{self.ENGINE}"
        return _stream_key(self.part, self.short_side, stream)

    @property
    def version(self) -> str:
        """What stands as `v` in URLs."""
        return version_of(self.key)

    @property
    def content_type(self) -> str:
        """What its bytes are."""
        is_film = self.part is StreamPart.SEGMENTS
        return "video/mp4" if is_film else PLAYLIST

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of its largest picture."""
        return even_size(width, height, short_side=self.short_side or self.rungs[-1])


def stream_name(part: StreamPart, short_side: int = 0) -> str:
    """The name of a part of a stream as a rendition: `hls`, `hls-360`, `hls-360-segments`."""
    return {
        StreamPart.MASTER: "hls",
        StreamPart.PLAYLIST: f"hls-{short_side}",
        StreamPart.SEGMENTS: f"hls-{short_side}-segments",
    }[part]


def key_beside(key: str, name: str) -> str | None:
    """The key of the part of this name (see `stream_name`) of the stream that `key` is of.

    Also of one whose recipe is of the past. None where there can be no such part.
    """
    found, (part, _, stream) = _STREAM_NAME.fullmatch(name), key.partition("-of-")
    if not found or not stream or not part.startswith("hls-"):
        return None
    short_side, is_segments = int(found[1] or 0), bool(found[2])
    named = StreamPart.SEGMENTS if is_segments else StreamPart.PLAYLIST
    return _stream_key(named if short_side else StreamPart.MASTER, short_side, stream)


def even_size(width: int, height: int, *, short_side: int) -> tuple[int, int]:
    """Even width and height with this shorter side, or that of the original if it is smaller."""
    scale = min(1.0, short_side / min(width, height))
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


class SoundEncoding(enum.StrEnum):
    """What sound is saved as; the value is its content type."""

    AAC = "audio/mp4"
    OPUS = "audio/ogg"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SoundRecipe:
    """Sound that plays: AAC in MP4 or Opus in Ogg. `normalized`: to -16 LUFS (EBU R 128)."""

    ENGINE: ClassVar[int] = 1

    encoding: SoundEncoding
    kilobits: int
    normalized: bool = False

    @property
    def key(self) -> str:
        """For instance `sound-aac-128k-1`."""
        loudness = "-normalized" if self.normalized else ""
        return f"sound-{self.encoding.name.lower()}-{self.kilobits}k{loudness}-{self.ENGINE}"

    @property
    def version(self) -> str:
        """What stands as `v` in URLs."""
        return version_of(self.key)

    @property
    def content_type(self) -> str:
        """What its bytes are."""
        return self.encoding.value

    def size_of(self, width: int, height: int) -> tuple[int, int]:  # noqa: ARG002 - as the others
        """Sound has no size."""
        return 0, 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WaveformRecipe:
    """A sound's peaks as JSON: `{"version": 1, "duration_ms": …, "peaks": [0.0 to 1.0, …]}`."""

    ENGINE: ClassVar[int] = 1

    points: int

    @property
    def key(self) -> str:
        """For instance `waveform-200-1`."""
        return f"waveform-{self.points}-{self.ENGINE}"

    @property
    def version(self) -> str:
        """What stands as `v` in URLs."""
        return version_of(self.key)

    @property
    def content_type(self) -> str:
        """What its bytes are."""
        return "application/json"

    def size_of(self, width: int, height: int) -> tuple[int, int]:  # noqa: ARG002 - as the others
        """Numbers have no size."""
        return 0, 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VerbatimRecipe:
    """The original as it came. It lies where the original does: nothing is made or stored."""

    content_type: str

    @property
    def key(self) -> str:
        """For instance `verbatim-application-pdf`."""
        return "verbatim-" + re.sub(r"[^a-z0-9]+", "-", self.content_type)

    @property
    def version(self) -> str:
        """What stands as `v` in URLs."""
        return version_of(self.key)

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """As wide and high as the original."""
        return width, height


Recipe = PictureRecipe | FilmRecipe | StreamRecipe | SoundRecipe | WaveformRecipe | VerbatimRecipe
