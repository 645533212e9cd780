"""A cell for films and sounds: `python -m media_service.infra.codecs.av_cell SOCKET PARENT`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from media_service.core.errors import MediaError
from media_service.core.formats import Format
from media_service.infra.codecs import films, wire
from media_service.infra.codecs.av_samples import SAMPLE_SIZE, SAMPLES, opened_sample
from media_service.infra.codecs.confinement import Limits
from media_service.infra.codecs.containers import library_versions
from media_service.infra.codecs.film_facts import film_facts
from media_service.infra.codecs.posters import Poster
from media_service.infra.codecs.serving import serve
from media_service.infra.codecs.targets import picture_recipe, write_to

_KEPT_PIXELS: Final = 13_000_000
_LIMITS: Final = Limits(memory_bytes=512 * 1024**2)
"""A few frames of 50 megapixels; indexes that lie ask for more."""


def introduce() -> wire.Message:
    """Which formats decode here and now, and by which versions."""
    return {
        "formats": [format.value for format in SAMPLES if _decodes(format)],
        "versions": library_versions(),
    }


def _decodes(format: Format) -> bool:
    """Whether every codec that this container usually holds does."""
    for sample in SAMPLES[format]:
        try:
            with opened_sample(sample) as source:
                found = films.inspect(source, format=format)
        except MediaError:
            return False
        if (found.width, found.height) != SAMPLE_SIZE:
            return False
    return True


class Works:
    """The jobs. The poster that an inspection found is kept for the next job, mostly of it."""

    def __init__(self) -> None:
        self._kept: tuple[wire.SourceId, Poster] | None = None

    def inspect(self, request: Mapping[str, Any], source: int, _: Sequence[int]) -> wire.Message:
        """Answers with the fields of an Inspection."""
        self._kept = None
        inspection, poster = films.inspect_and_keep(source, format=Format(request["format"]))
        if poster and inspection.width * inspection.height <= _KEPT_PIXELS:
            self._kept = wire.source_id(source), poster
        return dataclasses.asdict(inspection)

    def develop(
        self, request: Mapping[str, Any], source: int, targets: Sequence[int]
    ) -> wire.Message:
        """Writes each recipe's rendition to its file; answers with their sizes."""
        recipes = (picture_recipe(fields) for fields in request["recipes"])
        writers = (functools.partial(write_to, target) for target in targets)
        sizes = films.develop(
            source,
            format=Format(request["format"]),
            targets=list(zip(recipes, writers, strict=True)),
            poster=self._take(wire.source_id(source)),
        )
        return {"sizes": sizes}

    def describe(self, request: Mapping[str, Any], source: int, _: Sequence[int]) -> wire.Message:
        """Answers with the fields of a `Film`."""
        return film_facts(source, format=Format(request["format"]))

    def _take(self, source_id: wire.SourceId) -> Poster | None:
        kept, self._kept = self._kept, None
        return kept[1] if kept and kept[0] == source_id else None


if __name__ == "__main__":
    works = Works()
    kinds = {"inspect": works.inspect, "develop": works.develop, "describe": works.describe}
    serve(kinds, introduce=introduce, limits=_LIMITS)
