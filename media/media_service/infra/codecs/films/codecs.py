"""The port `Codecs` for films: a cell looks at them, `FilmMaker` makes what moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from media_service.core.codec_ports import OnProgress, no_progress
from media_service.core.errors import BrokenFile, DecoderUnavailable
from media_service.core.formats import Format
from media_service.core.media import MediaType
from media_service.core.recipes import PictureRecipe, Recipe
from media_service.core.renditions import Inspection
from media_service.infra.codecs.answers import (
    ask,
    checked,
    formats_of,
    picture_inspection,
    pictures_of,
    sound_inspection,
    versions_of,
)
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.cells.queue import JobKind
from media_service.infra.codecs.headers.limits import MAX_DURATION_MS

AV_CELL: Final = "media_service.infra.codecs.av_cell"
AV_TIME_LIMITS: Final[Mapping[JobKind, float]] = {
    JobKind.INSPECT: 15.0,
    JobKind.DEVELOP: 30.0,
    JobKind.DESCRIBE: 30.0,
}

Size = tuple[int, int]
Targets = Sequence[tuple[Recipe, Path]]


class FilmMaker(Protocol):
    """Makes of films what moves: films, streams, moving previews."""

    async def develop(
        self, source: Path, *, format: Format, targets: Targets, on_progress: OnProgress
    ) -> list[Size]:
        """As `Codecs.develop`."""


class FilmCodecs:
    """Implements `core.codec_ports.Codecs` for films; without a maker, nothing moves."""

    def __init__(self, cells: Cells, maker: FilmMaker | None = None) -> None:
        self._cells = cells
        self._maker = maker

    def formats(self) -> frozenset[Format]:
        """The formats a cell has decoded when it started."""
        return formats_of(self._cells, MediaType.VIDEO)

    def versions(self) -> dict[str, str]:
        """The versions of the decoders, by name."""
        return versions_of(self._cells)

    async def inspect(self, source: Path, *, format: Format) -> Inspection:
        """As the port promises, though only one frame is decoded: a film takes minutes."""
        answer = await ask(self._cells, JobKind.INSPECT, {"format": format}, source=source)
        return _inspection(answer)

    async def develop(
        self,
        source: Path,
        *,
        format: Format,
        targets: Targets,
        on_progress: OnProgress = no_progress,
    ) -> list[Size]:
        """As the port promises; also raises StorageFull, StorageUnavailable."""
        stills = [target for target in targets if _is_still(target[0])]
        moving = [target for target in targets if not _is_still(target[0])]
        made: dict[Path, Size] = {}
        if stills:
            found = await pictures_of(stills, self._cells, source=source, format=format)
            made.update(zip((path for _, path in stills), found, strict=True))
        if moving:
            if self._maker is None:
                raise DecoderUnavailable
            found = await self._maker.develop(
                source, format=format, targets=moving, on_progress=on_progress
            )
            made.update(zip((path for _, path in moving), found, strict=True))
        return [made[path] for _, path in targets]


def _is_still(recipe: Recipe) -> bool:
    return isinstance(recipe, PictureRecipe) and not recipe.animated


def _inspection(answer: Mapping[str, Any]) -> Inspection:
    """Raises BrokenFile for an answer that can't be."""
    if answer.get("has_video") is not True:
        return sound_inspection(answer)
    duration_ms = checked(answer.get("duration_ms"), most=MAX_DURATION_MS)
    seen = picture_inspection(answer)
    if seen.frames != 1 or seen.has_transparency:
        raise BrokenFile
    return dataclasses.replace(
        seen,
        duration_ms=duration_ms,
        has_video=True,
        has_audio=answer.get("has_audio") is True,
    )
