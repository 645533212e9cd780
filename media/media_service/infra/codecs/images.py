"""The port `Codecs` for pictures: what cells say, in the core's words.

A cell has met a stranger's bytes, so its answers are checked like anyone else's.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from media_service.core.codec_ports import OnProgress, no_progress
from media_service.core.errors import (
    BrokenFile,
    MediaError,
    MetadataTooLarge,
    StorageFull,
    StorageUnavailable,
    TooComplex,
    TooManyPixels,
)
from media_service.core.formats import Format
from media_service.core.recipes import PictureRecipe, Recipe, Shape
from media_service.core.renditions import MAX_SIDE, Inspection
from media_service.infra.codecs import wire
from media_service.infra.codecs.cell_queue import JobKind
from media_service.infra.codecs.cells import Cells
from media_service.infra.codecs.headers.limits import MAX_FRAMES

_ERRORS: Final[Mapping[str, type[MediaError]]] = {
    error.__name__: error
    for error in (
        BrokenFile,
        TooManyPixels,
        TooComplex,
        MetadataTooLarge,
        StorageFull,
        StorageUnavailable,
    )
}
_BLURHASH = re.compile(r"[0-9A-Za-z#$%*+,\-.:;=?@\[\]^_{|}~]{28}")

_log = logging.getLogger(__name__)


class CellComplaint(Exception):
    """What a cell said of a file it refused: for the log only."""


class ImageCodecs:
    """Implements `core.ports.Codecs` for pictures."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def formats(self) -> frozenset[Format]:
        """The formats a cell has decoded when it started."""
        return frozenset(Format(value) for value in self._cells.introduction["formats"])

    def versions(self) -> dict[str, str]:
        """The versions of the decoders, by name."""
        return dict(self._cells.introduction["versions"])

    async def inspect(self, source: Path, *, format: Format) -> Inspection:
        """As the port promises; also raises StorageUnavailable if the source can't be read."""
        answer = await self._run(JobKind.INSPECT, {"format": format}, source=source)
        return _inspection(answer)

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
        answer = await self._run(
            JobKind.DEVELOP,
            {"format": format, "recipes": [dataclasses.asdict(recipe) for recipe, _ in targets]},
            source=source,
            targets=[target for _, target in targets],
        )
        return _sizes(answer, count=len(targets))

    async def _run(
        self, kind: JobKind, request: wire.Message, *, source: Path, targets: Sequence[Path] = ()
    ) -> wire.Message:
        answer = await self._cells.run(kind, request, source=source, targets=targets)
        if "error" not in answer:
            return answer
        complaint = CellComplaint(str(answer.get("detail"))[: wire.MAX_MESSAGE_BYTES])
        if not answer.get("is_expected"):
            _log.error("a decoder failed in a way we don't know: %r", complaint)
        raise _ERRORS.get(str(answer["error"]), BrokenFile) from complaint


def _is_drawable(recipe: Recipe) -> bool:
    if not isinstance(recipe, PictureRecipe):
        return False
    return recipe.shape is Shape.FIT or not recipe.animated


def _inspection(answer: Mapping[str, Any]) -> Inspection:
    """Raises BrokenFile for an answer that can't be."""
    blurhash = answer.get("blurhash")
    if not (isinstance(blurhash, str) and _BLURHASH.fullmatch(blurhash)):
        raise BrokenFile
    return Inspection(
        width=_checked(answer.get("width"), most=MAX_SIDE),
        height=_checked(answer.get("height"), most=MAX_SIDE),
        frames=_checked(answer.get("frames"), most=MAX_FRAMES),
        has_transparency=answer.get("has_transparency") is True,
        blurhash=blurhash,
    )


def _sizes(answer: Mapping[str, Any], *, count: int) -> list[tuple[int, int]]:
    """Raises BrokenFile for an answer that can't be."""
    try:
        sizes = [
            (_checked(width, most=MAX_SIDE), _checked(height, most=MAX_SIDE))
            for width, height in answer["sizes"]
        ]
    except (KeyError, TypeError, ValueError) as cause:
        raise BrokenFile from cause
    if len(sizes) != count:
        raise BrokenFile
    return sizes


def _checked(value: object, *, most: int) -> int:
    if not isinstance(value, int) or not 1 <= value <= most:
        raise BrokenFile
    return value
