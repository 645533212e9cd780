"""Records: things as plain JSON values, for whoever keeps them outside this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from media_service.core.renditions import Encoding, ProcessingOptions, Recipe, Rendition, Shape


def options_to_record(options: ProcessingOptions) -> dict[str, Any]:
    """The options, by field name."""
    return dataclasses.asdict(options)


def options_from_record(record: Mapping[str, Any]) -> ProcessingOptions:
    """What `options_to_record` was given."""
    return ProcessingOptions(**record)


def rendition_to_record(rendition: Rendition) -> dict[str, Any]:
    """The rendition, by field name, its recipe nested."""
    recipe = rendition.recipe
    return {
        "name": rendition.name,
        "recipe": {
            "shape": recipe.shape,
            "width": recipe.width,
            "height": recipe.height,
            "quality": recipe.quality,
            "encoding": recipe.encoding,
            "animated": recipe.animated,
        },
        "width": rendition.width,
        "height": rendition.height,
        "size_bytes": rendition.size_bytes,
    }


def rendition_from_record(record: Mapping[str, Any]) -> Rendition:
    """What `rendition_to_record` was given."""
    recipe = dict(record["recipe"])
    made = Recipe(
        shape=Shape(recipe.pop("shape")), encoding=Encoding(recipe.pop("encoding")), **recipe
    )
    return Rendition(**{**record, "recipe": made})
