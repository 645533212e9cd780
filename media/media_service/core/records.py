"""Records: things as plain JSON values, for whoever keeps them outside this process."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from media_service.core.recipes import (
    Encoding,
    FilmRecipe,
    PictureRecipe,
    Recipe,
    Shape,
    SoundEncoding,
    SoundRecipe,
    StreamPart,
    StreamRecipe,
    VerbatimRecipe,
    WaveformRecipe,
)
from media_service.core.renditions import FULL, ProcessingOptions, Rendition, Role, Stage


def options_to_record(options: ProcessingOptions) -> dict[str, Any]:
    """The options, by field name."""
    return dataclasses.asdict(options)


def options_from_record(record: Mapping[str, Any]) -> ProcessingOptions:
    """What `options_to_record` was given."""
    return ProcessingOptions(**record)


def rendition_to_record(rendition: Rendition) -> dict[str, Any]:
    """The rendition, by field name, its recipe nested under the name of its kind."""
    return {
        "name": rendition.name,
        "recipe": recipe_to_record(rendition.recipe),
        "width": rendition.width,
        "height": rendition.height,
        "size_bytes": rendition.size_bytes,
        "stage": rendition.stage,
        "role": rendition.role,
    }


def rendition_from_record(record: Mapping[str, Any]) -> Rendition:
    """What `rendition_to_record` was given; now or when there were only pictures."""
    usual = Role.RENDITION if record["name"] == FULL else Role.THUMBNAIL
    rebuilt = {
        "recipe": recipe_from_record(record["recipe"]),
        "stage": Stage(record.get("stage", Stage.PREVIEW)),
        "role": Role(record.get("role", usual)),
    }
    return Rendition(**{**record, **rebuilt})


def recipe_from_record(record: Mapping[str, Any]) -> Recipe:
    """The recipe that a record with its kind and fields is of."""
    kind = record.get("kind", "picture")
    fields = {name: _value(kind, name, value) for name, value in record.items() if name != "kind"}
    return _KINDS[kind](**fields)


def _value(kind: str, name: str, value: Any) -> Any:
    if (kind, name) in _ENUMS:
        return _ENUMS[kind, name](value)
    return tuple(value) if isinstance(value, list) else value


def recipe_to_record(recipe: Recipe) -> dict[str, Any]:
    """The recipe, by field name, with its kind."""
    return {"kind": _KIND_NAMES[type(recipe)], **_fields(recipe)}


def _fields(recipe: Recipe) -> dict[str, Any]:
    names = (field.name for field in dataclasses.fields(recipe))
    return {name: getattr(recipe, name) for name in names if name not in _ONLY_TRANSFORMED}


_ONLY_TRANSFORMED = frozenset({"focus", "transformed"})
"""What is only said of pictures that no medium's plan has."""


_KINDS: Mapping[str, type[Recipe]] = {
    "picture": PictureRecipe,
    "film": FilmRecipe,
    "stream": StreamRecipe,
    "sound": SoundRecipe,
    "waveform": WaveformRecipe,
    "verbatim": VerbatimRecipe,
}
_KIND_NAMES: Mapping[type[Recipe], str] = {cls: kind for kind, cls in _KINDS.items()}
_ENUMS: Mapping[tuple[str, str], type[enum.StrEnum]] = {
    ("picture", "shape"): Shape,
    ("picture", "encoding"): Encoding,
    ("stream", "part"): StreamPart,
    ("sound", "encoding"): SoundEncoding,
}
