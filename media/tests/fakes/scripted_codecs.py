"""Codecs that decode nothing: fake pictures say in words what real ones would show."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from media_service.core.codec_ports import OnProgress, no_progress
from media_service.core.errors import BrokenFile, MediaError
from media_service.core.formats import Format
from media_service.core.recipes import Recipe
from media_service.core.renditions import Inspection

_MAGIC = {
    Format.JPEG: b"\xff\xd8\xff\xe0",
    Format.PNG: b"\x89PNG\r\n\x1a\n",
    Format.GIF: b"GIF89a\x10\x00\x10\x00\x00\x00\x00\x2c",
    Format.WEBP: b"RIFF\x00\x00\x00\x00WEBP",
    Format.AVIF: b"\x00\x00\x00\x14ftypavif\x00\x00\x00\x00mif1",
    Format.HEIC: b"\x00\x00\x00\x14ftypheic\x00\x00\x00\x00mif1",
}
_PICTURE = re.compile(rb"<(\d+)x(\d+) frames=(\d+) transparent=(\d) (\w+)>")


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


def broken_picture(*, format: Format = Format.JPEG) -> bytes:
    """A file that `sniff` takes for a picture and ScriptedCodecs for a broken one."""
    return _MAGIC[format] + b"this is not whole"


class ScriptedCodecs:
    """Keeps `core.ports.Codecs`.

    `inspect_error` and `develop_error` are raised while they are set; `gate` holds everything up
    while it is closed. `inspected` and `developed` tell what was asked for. Another `engine`
    makes other bytes of the same recipe.
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
        content = source.read_bytes()
        told = self.inspection or _told_by(content)
        for recipe, path in targets:
            path.write_bytes(developed_bytes(content, recipe) + self.engine.encode())
        return [recipe.size_of(told.width, told.height) for recipe, _ in targets]


def developed_bytes(content: bytes, recipe: Recipe) -> bytes:
    """What ScriptedCodecs makes of a content by a recipe."""
    return f"{recipe.key} of {hashlib.sha256(content).hexdigest()}".encode()


def _told_by(content: bytes) -> Inspection:
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
