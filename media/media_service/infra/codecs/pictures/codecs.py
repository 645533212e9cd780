"""The port `Codecs` for pictures: what cells say, in the core's words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from media_service.core.codec_ports import OnProgress, no_progress
from media_service.core.formats import Format
from media_service.core.media import MediaType
from media_service.core.recipes import PictureRecipe, Recipe, Shape
from media_service.core.renditions import Inspection
from media_service.infra.codecs.answers import (
    ask,
    formats_of,
    picture_inspection,
    pictures_of,
    versions_of,
)
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.cells.queue import JobKind


class ImageCodecs:
    """Implements `core.codec_ports.Codecs` for pictures."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def formats(self) -> frozenset[Format]:
        """The formats a cell has decoded when it started."""
        return formats_of(self._cells, MediaType.IMAGE)

    def versions(self) -> dict[str, str]:
        """The versions of the decoders, by name."""
        return versions_of(self._cells)

    async def inspect(self, source: Path, *, format: Format) -> Inspection:
        """As the port promises; also raises StorageUnavailable if the source can't be read."""
        answer = await ask(self._cells, JobKind.INSPECT, {"format": format}, source=source)
        return picture_inspection(answer)

    async def is_plain(self, source: Path, *, format: Format) -> bool:
        """Whether its pixels are upright and sRGB as they are stored. Raises as `inspect`."""
        answer = await ask(self._cells, JobKind.DESCRIBE, {"format": format}, source=source)
        return answer.get("is_plain") is True

    async def develop(
        self,
        source: Path,
        *,
        format: Format,
        targets: Sequence[tuple[Recipe, Path]],
        on_progress: OnProgress = no_progress,  # noqa: ARG002 - pictures are made in a moment
    ) -> list[tuple[int, int]]:
        """As the port promises; also raises StorageFull, StorageUnavailable.

        Moving pictures are only ever fitted. A large `FIT` may come out up to a tenth smaller
        than `Recipe.size_of` says: the sizes that are returned hold.
        """
        if not all(_is_drawable(recipe) for recipe, _ in targets):
            raise ValueError("pictures become pictures, and moving ones are only ever fitted")
        return await pictures_of(targets, self._cells, source=source, format=format)


def _is_drawable(recipe: Recipe) -> bool:
    if not isinstance(recipe, PictureRecipe):
        return False
    return recipe.shape is Shape.FIT or not recipe.animated
