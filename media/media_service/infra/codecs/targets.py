"""What a cell is asked to make, and the descriptors that it goes to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from media_service.core.recipes import Encoding, PictureRecipe, Shape


def picture_recipe(fields: Mapping[str, Any]) -> PictureRecipe:
    """The recipe of a request."""
    shape, encoding = Shape(fields["shape"]), Encoding(fields["encoding"])
    focus = tuple(fields["focus"]) if fields["focus"] else None
    return PictureRecipe(**{**fields, "shape": shape, "encoding": encoding, "focus": focus})


def write_to(target: int, content: bytes) -> None:
    """Write all of it. Raises OSError."""
    left = memoryview(content)
    while left:
        left = left[os.write(target, left) :]
