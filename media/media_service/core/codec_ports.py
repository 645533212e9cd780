"""Ports: what decodes and encodes, as promises that `infra.codecs` keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from media_service.core.formats import Format
from media_service.core.recipes import Recipe
from media_service.core.renditions import Inspection

OnProgress = Callable[[float], None]
"""Told how much is done, from 0 to 1; ten times a second at most."""


def no_progress(_done: float) -> None:
    """Nobody wants to know."""


class Codecs(Protocol):
    """Decodes and encodes, in processes that may die of it."""

    def formats(self) -> frozenset[Format]:
        """The formats whose decoder is here and safe."""

    async def inspect(self, source: Path, *, format: Format) -> Inspection:
        """Look through the file once, cheaply: pictures and sounds are decoded to their end.

        Of films one frame is; of documents what settles their format is read.

        Raises what is Broken, TooLarge or Unsupported; DecoderUnavailable.
        """

    async def develop(
        self,
        source: Path,
        *,
        format: Format,
        targets: Sequence[tuple[Recipe, Path]],
        on_progress: OnProgress = no_progress,
    ) -> list[tuple[int, int]]:
        """Write each rendition to its path, from one decode; their widths and heights.

        What only jobs make can take minutes; cancelled, it ends in a second. Raises as `inspect`.
        """
