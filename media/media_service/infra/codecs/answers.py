"""What cells answer, in the core's words.

A cell has met a stranger's bytes, so its answers are checked like anyone else's.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from media_service.core.errors import (
    BrokenFile,
    MediaError,
    MetadataTooLarge,
    StorageFull,
    StorageUnavailable,
    TooComplex,
    TooManyPixels,
    UnsafeArchive,
    UnsupportedCodec,
    UnsupportedType,
)
from media_service.core.formats import Format
from media_service.core.media import MediaType
from media_service.core.recipes import Recipe
from media_service.core.renditions import MAX_SIDE, Inspection
from media_service.infra.codecs.cells import wire
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.cells.queue import JobKind
from media_service.infra.codecs.headers.limits import MAX_DURATION_MS, MAX_FRAMES

_ERRORS: Final[Mapping[str, type[MediaError]]] = {
    error.__name__: error
    for error in (
        BrokenFile,
        TooManyPixels,
        TooComplex,
        MetadataTooLarge,
        StorageFull,
        StorageUnavailable,
        UnsafeArchive,
        UnsupportedCodec,
        UnsupportedType,
    )
}
_SOUNDS: Final = frozenset(f.value for f in Format if f.media_type is MediaType.AUDIO)
_BLURHASH = re.compile(r"[0-9A-Za-z#$%*+,\-.:;=?@\[\]^_{|}~]{28}")

_log = logging.getLogger(__name__)


class CellComplaint(Exception):
    """What a cell said of a file it refused: for the log only."""


async def ask(
    cells: Cells,
    kind: JobKind,
    request: wire.Message,
    *,
    source: Path,
    targets: Sequence[Path] = (),
) -> wire.Message:
    """A cell's answer. Raises the error it names, and what `Cells.run` raises."""
    answer = await cells.run(kind, request, source=source, targets=targets)
    if "error" not in answer:
        return answer
    complaint = CellComplaint(str(answer.get("detail"))[: wire.MAX_MESSAGE_BYTES])
    if not answer.get("is_expected"):
        _log.error("a decoder failed in a way we don't know: %r", complaint)
    raise _ERRORS.get(str(answer["error"]), BrokenFile) from complaint


def formats_of(cells: Cells, media_type: MediaType) -> frozenset[Format]:
    """The formats of this type that a cell has decoded when it started."""
    known = (Format(value) for value in cells.introduction["formats"])
    return frozenset(format for format in known if format.media_type is media_type)


def versions_of(cells: Cells) -> dict[str, str]:
    """The versions of the decoders, by name."""
    return dict(cells.introduction["versions"])


async def pictures_of(
    targets: Sequence[tuple[Recipe, Path]], cells: Cells, *, source: Path, format: Format
) -> list[tuple[int, int]]:
    """Have a cell write these pictures; their widths and heights. Raises as `ask`."""
    answer = await ask(
        cells,
        JobKind.DEVELOP,
        {"format": format, "recipes": [dataclasses.asdict(recipe) for recipe, _ in targets]},
        source=source,
        targets=[path for _, path in targets],
    )
    return sizes(answer, count=len(targets))


def picture_inspection(answer: Mapping[str, Any]) -> Inspection:
    """Of what can be seen, moving or not. Raises BrokenFile for an answer that can't be."""
    blurhash = answer.get("blurhash")
    if not (isinstance(blurhash, str) and _BLURHASH.fullmatch(blurhash)):
        raise BrokenFile
    return Inspection(
        width=checked(answer.get("width"), most=MAX_SIDE),
        height=checked(answer.get("height"), most=MAX_SIDE),
        frames=checked(answer.get("frames"), most=MAX_FRAMES),
        has_transparency=answer.get("has_transparency") is True,
        blurhash=blurhash,
        duration_ms=checked(answer.get("duration_ms"), least=0, most=MAX_DURATION_MS),
    )


def sound_inspection(answer: Mapping[str, Any]) -> Inspection:
    """Of what can only be heard. Raises BrokenFile for an answer that can't be."""
    content_type = answer.get("content_type")
    if answer.get("has_audio") is not True or content_type not in _SOUNDS:
        raise BrokenFile
    return Inspection(
        width=0,
        height=0,
        frames=1,
        has_transparency=False,
        blurhash="",
        duration_ms=checked(answer.get("duration_ms"), most=MAX_DURATION_MS),
        has_audio=True,
        content_type=str(content_type),
    )


def sizes(answer: Mapping[str, Any], *, count: int) -> list[tuple[int, int]]:
    """Widths and heights of so many renditions. Raises BrokenFile for an answer that can't be."""
    try:
        found = [
            (checked(width, most=MAX_SIDE), checked(height, most=MAX_SIDE))
            for width, height in answer["sizes"]
        ]
    except (KeyError, TypeError, ValueError) as cause:
        raise BrokenFile from cause
    if len(found) != count:
        raise BrokenFile
    return found


def checked(value: object, *, most: int, least: int = 1) -> int:
    """A number from the least. Raises BrokenFile for anything else."""
    if not isinstance(value, int) or not least <= value <= most:
        raise BrokenFile
    return value
