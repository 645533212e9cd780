"""Silent films of moving pictures: a cell has told of the picture, ffmpeg reads it once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from media_service.core.codec_ports import Codecs, OnProgress, no_progress
from media_service.core.errors import UnsupportedCodec
from media_service.core.formats import Format
from media_service.core.recipes import Encoding, FilmRecipe, PictureRecipe, Shape
from media_service.core.renditions import Inspection
from media_service.infra.codecs.films.description import Film, Size
from media_service.infra.codecs.films.making import FilmMaker
from media_service.infra.codecs.programs.making import Target
from media_service.infra.codecs.programs.running import private_folder

_INPUTS: Final[Mapping[Format, tuple[str, str]]] = {
    Format.GIF: ("gif", "gif"),
    Format.PNG: ("apng", "apng"),
    Format.WEBP: ("webp_anim", "webp_anim"),
    Format.AVIF: ("mov", "av1"),
}
"""What ffmpeg calls them: demuxer and decoder."""
_SEQUENCE: Final = 1
"""The stream of an AVIF's frames; the first is its still picture."""
_MOST_MS: Final = 100
"""What a frame is given that says that it lasts next to nothing."""
_LEAST_MS: Final = 11
_PLAIN: Final = PictureRecipe(
    shape=Shape.FIT, width=2048, height=2048, quality=95, encoding=Encoding.WEBP, animated=True
)
"""What ffmpeg gets of pictures that are not to be shown as they are stored."""


class Pictures(Codecs, Protocol):
    """The codecs of pictures, as far as they are asked here."""

    async def is_plain(self, source: Path, *, format: Format) -> bool:
        """Whether its pixels are upright and sRGB as they are stored. Raises as `inspect`."""


class MovingPictures:
    """Implements `core.codec_ports.Codecs` for pictures, those that become films included.

    Films come in calls of their own, as they are of another stage. Without a maker there are none.
    ffmpeg neither turns pictures nor knows profiles: of those it gets what the cell made of them.
    """

    def __init__(self, pictures: Pictures, maker: FilmMaker | None) -> None:
        self._pictures = pictures
        self._maker = maker

    def formats(self) -> frozenset[Format]:
        """Those of pictures."""
        return self._pictures.formats()

    async def inspect(self, source: Path, *, format: Format) -> Inspection:
        """As the port promises."""
        return await self._pictures.inspect(source, format=format)

    async def develop(
        self,
        source: Path,
        *,
        format: Format,
        targets: Sequence[Target],
        on_progress: OnProgress = no_progress,
    ) -> list[Size]:
        """As the port promises."""
        if not all(isinstance(recipe, FilmRecipe) for recipe, _ in targets):
            return await self._pictures.develop(source, format=format, targets=targets)
        if self._maker is None:
            raise UnsupportedCodec  # not unavailable: nobody need try again
        if await self._pictures.is_plain(source, format=format):
            return await self._make(source, format, targets, on_progress)
        async with private_folder(targets[0][1]) as folder:
            plain = folder / "plain.webp"
            await self._pictures.develop(source, format=format, targets=[(_PLAIN, plain)])
            return await self._make(plain, Format.WEBP, targets, on_progress)

    async def _make(
        self, source: Path, format: Format, targets: Sequence[Target], on_progress: OnProgress
    ) -> list[Size]:
        assert self._maker is not None
        told = await self.inspect(source, format=format)
        film = _described(told, format)
        return await self._maker.make(film, source, targets=targets, on_progress=on_progress)


def _described(told: Inspection, format: Format) -> Film:
    demuxer, codec = _INPUTS[format]
    each_ms = told.duration_ms / told.frames
    return Film(
        demuxer=demuxer,
        codec=codec,
        stream=_SEQUENCE if format is Format.AVIF else 0,
        seconds=(told.duration_ms + told.frames * _MOST_MS) / 1000,
        width=told.width,
        height=told.height,
        frame_rate=1000 / (each_ms if each_ms >= _LEAST_MS else _MOST_MS),
        frames=told.frames,
        end=told.duration_ms / 1000,
    )
