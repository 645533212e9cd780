"""The port `Codecs` for documents: a cell reads their directories, and draws PDFs' first pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from media_service.core.codec_ports import OnProgress, no_progress
from media_service.core.errors import BrokenFile
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
    versions_of,
)
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.cells.queue import JobKind

DOCUMENT_CELL: Final = "media_service.infra.codecs.document_cell"
DOCUMENT_TIME_LIMITS: Final[Mapping[JobKind, float]] = dict.fromkeys(JobKind, 10.0)
"""In seconds. What takes longer to draw is no page that people read."""
_MAX_PAGES: Final = 1_000_000


class DocumentCodecs:
    """Implements `core.codec_ports.Codecs` for documents."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def formats(self) -> frozenset[Format]:
        """All of them; PDF if a cell has drawn a page when it started."""
        return formats_of(self._cells, MediaType.DOCUMENT)

    def versions(self) -> dict[str, str]:
        """The versions of the decoders, by name."""
        return versions_of(self._cells)

    async def inspect(self, source: Path, *, format: Format) -> Inspection:
        """As the port promises; also raises StorageUnavailable if the source can't be read.

        What can't be read without a password is taken as it is, without pages.
        """
        answer = await ask(self._cells, JobKind.INSPECT, {"format": format}, source=source)
        return _inspection(answer, sniffed=format)

    async def develop(
        self,
        source: Path,
        *,
        format: Format,
        targets: Sequence[tuple[Recipe, Path]],
        on_progress: OnProgress = no_progress,  # noqa: ARG002 - a page is drawn in a moment
    ) -> list[tuple[int, int]]:
        """As the port promises; also raises StorageFull, StorageUnavailable."""
        if not all(isinstance(r, PictureRecipe) and not r.animated for r, _ in targets):
            raise ValueError("what is made of documents are still pictures")
        return await pictures_of(targets, self._cells, source=source, format=format)


def _inspection(answer: Mapping[str, Any], *, sniffed: Format) -> Inspection:
    """Raises BrokenFile for an answer that can't be."""
    if answer.get("pages"):
        pages = checked(answer["pages"], most=_MAX_PAGES)
        return dataclasses.replace(picture_inspection(answer), pages=pages)
    try:
        format = Format(answer.get("content_type") or sniffed)
    except ValueError as cause:
        raise BrokenFile from cause
    if format.media_type is not MediaType.DOCUMENT:
        raise BrokenFile
    return Inspection(
        width=0, height=0, frames=1, has_transparency=False, blurhash="", content_type=format
    )
