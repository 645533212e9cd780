"""A cell for films and sounds: `python -m media_service.infra.codecs.av_cell SOCKET PARENT`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from media_service.core.errors import MediaError
from media_service.core.formats import Format
from media_service.core.media import MediaType
from media_service.core.recipes import PictureRecipe, WaveformRecipe
from media_service.core.records import recipe_from_record
from media_service.core.sniffing import settled
from media_service.infra.codecs.cells import wire
from media_service.infra.codecs.cells.confinement import Limits
from media_service.infra.codecs.cells.serving import serve
from media_service.infra.codecs.containers import library_versions
from media_service.infra.codecs.films import stills
from media_service.infra.codecs.films.describing import film_facts
from media_service.infra.codecs.films.posters import Poster
from media_service.infra.codecs.films.samples import SAMPLE_SIZE, SAMPLES, opened_sample
from media_service.infra.codecs.sounds import listening
from media_service.infra.codecs.sounds.samples import SOUND_SAMPLES
from media_service.infra.codecs.targets import picture_recipe, write_to

_KEPT_PIXELS: Final = 13_000_000
_LIMITS: Final = Limits(memory_bytes=512 * 1024**2)
"""A few frames of 50 megapixels; indexes that lie ask for more."""


def introduce() -> wire.Message:
    """Which formats decode here and now, and by which versions."""
    return {
        "formats": [
            *(format.value for format in SAMPLES if _decodes(format)),
            *(format.value for format in SOUND_SAMPLES if _is_heard(format)),
        ],
        "versions": library_versions(),
    }


def _decodes(format: Format) -> bool:
    """Whether every codec that this container usually holds does."""
    for sample in SAMPLES[format]:
        try:
            with opened_sample(sample) as source:
                found = stills.inspect(source, format=format)
        except MediaError:
            return False
        if (found.width, found.height) != SAMPLE_SIZE:
            return False
    return True


def _is_heard(format: Format) -> bool:
    try:
        with opened_sample(SOUND_SAMPLES[format]) as source:
            return listening.inspect(source, format=format).has_audio
    except MediaError:
        return False


class Works:
    """The jobs. What an inspection found is kept for the next job, mostly of it."""

    def __init__(self) -> None:
        self._kept: tuple[wire.SourceId, Poster | listening.Heard] | None = None

    def inspect(self, request: Mapping[str, Any], source: int, _: Sequence[int]) -> wire.Message:
        """Answers with the fields of an Inspection."""
        self._kept = None
        format = Format(request["format"])
        if format.media_type is MediaType.AUDIO:
            return self._listen(source, format)
        inspection, poster = stills.inspect_and_keep(source, format=format)
        if not inspection.has_video:
            return self._listen(source, settled(format, inspection))
        if poster and inspection.width * inspection.height <= _KEPT_PIXELS:
            self._kept = wire.source_id(source), poster
        return dataclasses.asdict(inspection)

    def develop(
        self, request: Mapping[str, Any], source: int, targets: Sequence[int]
    ) -> wire.Message:
        """Writes each recipe's rendition to its file; answers with their sizes."""
        format = Format(request["format"])
        kept = self._take(wire.source_id(source))
        writers = [functools.partial(write_to, target) for target in targets]
        if format.media_type is MediaType.AUDIO:
            drawn = [_drawn(fields) for fields in request["recipes"]]
            heard = kept if isinstance(kept, listening.Heard) else None
            orders = list(zip(drawn, writers, strict=True))
            return {"sizes": listening.develop(source, format=format, targets=orders, heard=heard)}
        recipes = [picture_recipe(fields) for fields in request["recipes"]]
        poster = kept if isinstance(kept, Poster) else None
        pictures = list(zip(recipes, writers, strict=True))
        return {"sizes": stills.develop(source, format=format, targets=pictures, poster=poster)}

    def describe(self, request: Mapping[str, Any], source: int, _: Sequence[int]) -> wire.Message:
        """Answers with the fields of a `Film` or a `Sound`."""
        format = Format(request["format"])
        if format.media_type is MediaType.AUDIO:
            return listening.listen(source, format=format).facts
        return film_facts(source, format=format)

    def _listen(self, source: int, format: Format) -> wire.Message:
        heard = listening.listen(source, format=format)
        self._kept = wire.source_id(source), heard
        return dataclasses.asdict(listening.inspection_of(heard))

    def _take(self, source_id: wire.SourceId) -> Poster | listening.Heard | None:
        kept, self._kept = self._kept, None
        return kept[1] if kept and kept[0] == source_id else None


def _drawn(fields: Mapping[str, Any]) -> WaveformRecipe | PictureRecipe:
    """What is drawn of a sound. Raises ValueError for what isn't."""
    recipe = recipe_from_record(fields)
    if not isinstance(recipe, WaveformRecipe | PictureRecipe):
        raise ValueError(recipe)
    return recipe


if __name__ == "__main__":
    works = Works()
    kinds = {"inspect": works.inspect, "develop": works.develop, "describe": works.describe}
    serve(kinds, introduce=introduce, limits=_LIMITS)
