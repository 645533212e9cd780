from __future__ import annotations

import json

from fakes.samples import a_recipe
from hypothesis import given
from hypothesis import strategies as st
from media_service.core.recipes import Encoding, PictureRecipe, Shape
from media_service.core.records import (
    options_from_record,
    options_to_record,
    rendition_from_record,
    rendition_to_record,
)
from media_service.core.renditions import ProcessingOptions, Rendition

options = st.builds(
    ProcessingOptions,
    quality=st.integers(0, 100),
    max_width=st.integers(0, 4096),
    max_height=st.integers(0, 4096),
)
renditions = st.builds(
    Rendition,
    recipe=st.builds(
        PictureRecipe, shape=st.sampled_from(Shape), encoding=st.sampled_from(Encoding)
    ),
)


@given(options)
def test_options_survive_json(given_options: ProcessingOptions) -> None:
    record = json.loads(json.dumps(options_to_record(given_options)))

    assert options_from_record(record) == given_options


@given(renditions)
def test_renditions_survive_json(rendition: Rendition) -> None:
    record = json.loads(json.dumps(rendition_to_record(rendition)))

    assert rendition_from_record(record) == rendition


def test_records_look_as_those_that_are_stored_already() -> None:
    rendition = Rendition(name="320", recipe=a_recipe(), width=320, height=213, size_bytes=9)

    assert json.loads(json.dumps(rendition_to_record(rendition))) == {
        "name": "320",
        "recipe": {
            "kind": "picture",
            "shape": "fit",
            "width": 320,
            "height": 320,
            "quality": 85,
            "encoding": "image/jpeg",
            "animated": False,
        },
        "width": 320,
        "height": 213,
        "size_bytes": 9,
        "stage": 1,
        "role": "rendition",
    }
