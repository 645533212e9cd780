"""A cell for pictures: `python -m media_service.infra.codecs.image_cell SOCKET PARENT`."""

from __future__ import annotations

import dataclasses
import functools
import mmap
from collections.abc import Mapping, Sequence
from typing import Any

from media_service.core.errors import BrokenFile, MediaError
from media_service.core.formats import Format
from media_service.infra.codecs.cells import wire
from media_service.infra.codecs.cells.serving import serve
from media_service.infra.codecs.pictures.developing import develop
from media_service.infra.codecs.pictures.inspecting import inspect, inspect_and_keep
from media_service.infra.codecs.pictures.opening import Decoded, decoder_versions, open_picture
from media_service.infra.codecs.pictures.samples import SAMPLE_SIZE, SAMPLES
from media_service.infra.codecs.targets import picture_recipe, write_to


def introduce() -> wire.Message:
    """Which formats decode here and now, inside the sandbox, and by which versions."""
    return {
        "formats": [format.value for format in Format if _decodes(format)],
        "versions": decoder_versions(),
    }


def _decodes(format: Format) -> bool:
    sample = SAMPLES.get(format)
    try:
        found = inspect(sample, format=format) if sample else None
    except MediaError:
        return False
    return found is not None and (found.width, found.height) == SAMPLE_SIZE


class Works:
    """The jobs. What an inspection decoded is kept for the next job, mostly its development."""

    def __init__(self) -> None:
        self._kept: tuple[wire.SourceId, Decoded] | None = None

    def inspect(self, request: Mapping[str, Any], source: int, _: Sequence[int]) -> wire.Message:
        """Answers with the fields of an Inspection."""
        self._kept = None
        inspection, decoded = inspect_and_keep(_mapped(source), format=Format(request["format"]))
        if decoded:
            self._kept = wire.source_id(source), decoded
        return dataclasses.asdict(inspection)

    def describe(self, request: Mapping[str, Any], source: int, _: Sequence[int]) -> wire.Message:
        """Answers with `is_plain`."""
        picture = open_picture(_mapped(source), format=Format(request["format"]))
        return {"is_plain": picture.is_plain}

    def develop(
        self, request: Mapping[str, Any], source: int, targets: Sequence[int]
    ) -> wire.Message:
        """Writes each recipe's rendition to its file; answers with their sizes."""
        recipes = (picture_recipe(fields) for fields in request["recipes"])
        writers = (functools.partial(write_to, target) for target in targets)
        sizes = develop(
            _mapped(source),
            format=Format(request["format"]),
            targets=list(zip(recipes, writers, strict=True)),
            decoded=self._take(wire.source_id(source)),
        )
        return {"sizes": sizes}

    def _take(self, source_id: wire.SourceId) -> Decoded | None:
        kept, self._kept = self._kept, None
        return kept[1] if kept and kept[0] == source_id else None


def _mapped(source: int) -> mmap.mmap:
    try:
        return mmap.mmap(source, 0, access=mmap.ACCESS_READ)
    except ValueError as cause:  # an empty file can't be mapped
        raise BrokenFile from cause


if __name__ == "__main__":
    works = Works()
    jobs = {"inspect": works.inspect, "describe": works.describe, "develop": works.develop}
    serve(jobs, introduce=introduce)
