"""Codecs that decode nothing: fake files say in words what real ones would show."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from media_service.core.codec_ports import OnProgress, no_progress
from media_service.core.errors import BrokenFile, MediaError
from media_service.core.formats import Format
from media_service.core.recipes import (
    PLAYLIST,
    FilmRecipe,
    Recipe,
    SoundRecipe,
    StreamPart,
    StreamRecipe,
    stream_name,
)
from media_service.core.renditions import Inspection

_MAGIC = {
    Format.JPEG: b"\xff\xd8\xff\xe0",
    Format.PNG: b"\x89PNG\r\n\x1a\n",
    Format.GIF: b"GIF89a\x10\x00\x10\x00\x00\x00\x00\x2c",
    Format.WEBP: b"RIFF\x00\x00\x00\x00WEBP",
    Format.AVIF: b"\x00\x00\x00\x14ftypavif\x00\x00\x00\x00mif1",
    Format.HEIC: b"\x00\x00\x00\x14ftypheic\x00\x00\x00\x00mif1",
    Format.MP4: b"\x00\x00\x00\x14ftypisom\x00\x00\x00\x00mp42",
    Format.MOV: b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  ",
    Format.MP3: b"ID3\x04\x00\x00\x00\x00\x00\x00",
    Format.PDF: b"%PDF-1.7\n",
}
_SLOW = (FilmRecipe, StreamRecipe, SoundRecipe)
_PICTURE = re.compile(rb"<(\d+)x(\d+) frames=(\d+) transparent=(\d) (\w+)>")
_OTHER = re.compile(rb"<(\d+)x(\d+) ms=(\d+) video=(\d) audio=(\d) pages=(\d+) (\w+)>")


def picture(
    name: str = "some",
    *,
    size: tuple[int, int] = (1200, 800),
    format: Format = Format.JPEG,
    frames: int = 1,
    is_transparent: bool = False,
    size_bytes: int = 0,
) -> bytes:
    """A file that `sniff` and ScriptedCodecs take for a picture; another for every name."""
    width, height = size
    said = f"<{width}x{height} frames={frames} transparent={is_transparent:d} {name}>"
    return (_MAGIC[format] + said.encode()).ljust(size_bytes, b"\0")


def film(
    name: str = "some",
    *,
    size: tuple[int, int] = (640, 360),
    format: Format = Format.MP4,
    seconds: float = 3,
    has_video: bool = True,
    has_audio: bool = True,
) -> bytes:
    """A file that `sniff` and ScriptedCodecs take for a film; another for every name."""
    width, height = size
    plays = f"ms={seconds * 1000:.0f} video={has_video:d} audio={has_audio:d}"
    return _MAGIC[format] + f"<{width}x{height} {plays} pages=0 {name}>".encode()


def sound(name: str = "some", *, format: Format = Format.MP3, seconds: float = 3) -> bytes:
    """A file that `sniff` and ScriptedCodecs take for a sound; another for every name."""
    return film(name, size=(0, 0), format=format, seconds=seconds, has_video=False)


def document(name: str = "some", *, pages: int = 2) -> bytes:
    """A file that `sniff` and ScriptedCodecs take for a PDF; another for every name."""
    said = f"<595x842 ms=0 video=0 audio=0 pages={pages} {name}>"
    return _MAGIC[Format.PDF] + said.encode()


def broken_picture(*, format: Format = Format.JPEG) -> bytes:
    """A file that `sniff` takes for a picture and ScriptedCodecs for a broken one."""
    return _MAGIC[format] + b"this is not whole"


class ScriptedCodecs:
    """Keeps `core.codec_ports.Codecs`.

    `inspect_error` and `develop_error` are raised while they are set; `gate` holds everything up
    while it is closed. `inspected` and `developed` tell what was asked for. Another `engine`
    makes other bytes of the same recipe.

    What takes minutes tells that it is done by `shares`, waits for `slow_gate` after each, and
    raises `slow_error` at the end; `broken_off` tells what was cancelled meanwhile.
    """

    def __init__(self) -> None:
        self.inspect_error: MediaError | None = None
        self.develop_error: MediaError | None = None
        self.inspection: Inspection | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.inspected: list[Path] = []
        self.developed: list[list[str]] = []
        self.known_formats = frozenset(_MAGIC)
        self.engine = ""
        self.shares: tuple[float, ...] = (0.5,)
        self.slow_gate = asyncio.Event()
        self.slow_gate.set()
        self.slow_error: MediaError | None = None
        self.broken_off: list[list[str]] = []

    def formats(self) -> frozenset[Format]:
        """What `known_formats` says."""
        return self.known_formats

    async def inspect(self, source: Path, *, format: Format) -> Inspection:
        """What the picture says of itself, or `inspection` if that is set."""
        self.inspected.append(source)
        await self.gate.wait()
        if self.inspect_error:
            raise self.inspect_error
        return self.inspection or _told_by(source.read_bytes())

    async def develop(
        self,
        source: Path,
        *,
        format: Format,
        targets: Sequence[tuple[Recipe, Path]],
        on_progress: OnProgress = no_progress,
    ) -> list[tuple[int, int]]:
        """Write bytes that follow from the source's and the recipe alone."""
        self.developed.append([recipe.key for recipe, _ in targets])
        await self.gate.wait()
        if self.develop_error:
            raise self.develop_error
        if any(isinstance(recipe, _SLOW) for recipe, _ in targets):
            await self._be_slow([recipe.key for recipe, _ in targets], on_progress)
        content = source.read_bytes()
        told = self.inspection or _told_by(content)
        for recipe, path in targets:
            path.write_bytes(developed_bytes(content, recipe) + self.engine.encode())
        size = (told.width or 640, told.height or 160)  # a wave is drawn to fill its box
        return [recipe.size_of(*size) for recipe, _ in targets]

    async def _be_slow(self, keys: list[str], on_progress: OnProgress) -> None:
        try:
            for share in self.shares:
                on_progress(share)
                await self.slow_gate.wait()
        except asyncio.CancelledError:
            self.broken_off.append(keys)
            raise
        if self.slow_error:
            raise self.slow_error


def developed_bytes(content: bytes, recipe: Recipe) -> bytes:
    """What ScriptedCodecs makes of a content by a recipe. Playlists are such, if short ones."""
    if isinstance(recipe, StreamRecipe) and recipe.content_type == PLAYLIST:
        return _playlist(recipe).encode()
    return f"{recipe.key} of {hashlib.sha256(content).hexdigest()}".encode()


def _playlist(recipe: StreamRecipe) -> str:
    if recipe.part is StreamPart.MASTER:
        names = [stream_name(StreamPart.PLAYLIST, rung) for rung in recipe.rungs]
        told = "#EXT-X-STREAM-INF:BANDWIDTH=800000\n"
        return "#EXTM3U\n" + "".join(f"{told}{name}\n" for name in names)
    segments = stream_name(StreamPart.SEGMENTS, recipe.short_side)
    return (
        f'#EXTM3U\n#EXT-X-MAP:URI="{segments}",BYTERANGE="8@0"\n'
        f"#EXTINF:2.0,\n#EXT-X-BYTERANGE:9@8\n{segments}\n#EXT-X-ENDLIST\n"
    )


def _told_by(content: bytes) -> Inspection:
    other = _OTHER.search(content)
    if other:
        sides, (ms, video, audio, pages) = other.groups()[:2], map(int, other.groups()[2:6])
        return Inspection(
            width=int(sides[0]),
            height=int(sides[1]),
            frames=1,
            has_transparency=False,
            blurhash="L" + other[7].decode() if video or pages else "",
            duration_ms=ms,
            has_video=bool(video),
            has_audio=bool(audio),
            pages=pages,
        )
    match = _PICTURE.search(content)
    if match is None:
        raise BrokenFile
    width, height, frames, transparent, name = match.groups()
    return Inspection(
        width=int(width),
        height=int(height),
        frames=int(frames),
        has_transparency=transparent == b"1",
        blurhash="L" + name.decode(),
    )
