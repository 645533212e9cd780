"""The port `Codecs` for every kind of media: each kind has its own, and this asks the right one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from media_service.core.codec_ports import Codecs, OnProgress, no_progress
from media_service.core.errors import UnsupportedType
from media_service.core.formats import Format
from media_service.core.media import MediaType
from media_service.core.recipes import Recipe
from media_service.core.renditions import Inspection


class CodecsByKind:
    """Implements `core.codec_ports.Codecs` with those of each media type."""

    def __init__(self, codecs: Mapping[MediaType, Codecs]) -> None:
        self._codecs = codecs

    def formats(self) -> frozenset[Format]:
        """The formats that any of them decodes."""
        return frozenset(
            format
            for kind, codecs in self._codecs.items()
            for format in codecs.formats()
            if format.media_type is kind
        )

    async def inspect(self, source: Path, *, format: Format) -> Inspection:
        """As the port promises."""
        return await self._of(format).inspect(source, format=format)

    async def develop(
        self,
        source: Path,
        *,
        format: Format,
        targets: Sequence[tuple[Recipe, Path]],
        on_progress: OnProgress = no_progress,
    ) -> list[tuple[int, int]]:
        """As the port promises."""
        return await self._of(format).develop(
            source, format=format, targets=targets, on_progress=on_progress
        )

    def _of(self, format: Format) -> Codecs:
        codecs = self._codecs.get(format.media_type)
        if codecs is None:
            raise UnsupportedType
        return codecs
