"""What the tests of `ImageCodecs` share: a studio, and how to look at pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from media_service.core.formats import Format
from media_service.core.recipes import Encoding, PictureRecipe, Shape
from media_service.core.renditions import Inspection
from media_service.infra.codecs.pictures.codecs import ImageCodecs
from PIL import Image


class Studio:
    """Puts pictures into files, and renditions out of them."""

    def __init__(self, codecs: ImageCodecs, folder: Path) -> None:
        self.codecs = codecs
        self._source = folder / "source"
        self._folder = folder

    async def inspect(self, content: bytes, format: Format) -> Inspection:
        self._source.write_bytes(content)
        return await self.codecs.inspect(self._source, format=format)

    async def develop(self, content: bytes, format: Format, *recipes: PictureRecipe) -> list[bytes]:
        self._source.write_bytes(content)
        return await self._developed(format, recipes)

    async def develop_after_inspecting(
        self, content: bytes, format: Format, *recipes: PictureRecipe
    ) -> list[bytes]:
        await self.inspect(content, format)
        return await self._developed(format, recipes)

    async def _developed(self, format: Format, recipes: Sequence[PictureRecipe]) -> list[bytes]:
        targets = [(recipe, self._folder / str(i)) for i, recipe in enumerate(recipes)]
        sizes = await self.codecs.develop(self._source, format=format, targets=targets)
        developed = [path.read_bytes() for _, path in targets]
        assert [Image.open(io.BytesIO(content)).size for content in developed] == sizes
        return developed


def recipe(
    shape: Shape, width: int, height: int, *, encoding: Encoding = Encoding.JPEG, **changes: Any
) -> PictureRecipe:
    fields = {"quality": 90, **changes}
    return PictureRecipe(shape=shape, width=width, height=height, encoding=encoding, **fields)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def pixels_of(content: bytes, mode: str = "RGB") -> npt.NDArray[np.float64]:
    return np.asarray(opened(content).convert(mode), dtype=float)


def difference(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(float) - other.astype(float)).mean())
