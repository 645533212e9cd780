"""The port `Codecs` for sounds: a cell listens and draws, ffmpeg makes what plays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from media_service.core.codec_ports import OnProgress, no_progress
from media_service.core.errors import BrokenFile, DecoderUnavailable
from media_service.core.formats import Format
from media_service.core.media import MediaType
from media_service.core.recipes import Encoding, PictureRecipe, Recipe, SoundRecipe, WaveformRecipe
from media_service.core.records import recipe_to_record
from media_service.core.renditions import Inspection
from media_service.infra.codecs.answers import (
    ask,
    formats_of,
    sound_inspection,
    versions_of,
)
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.cells.queue import JobKind
from media_service.infra.codecs.programs.ffmpeg import Ffmpeg
from media_service.infra.codecs.programs.making import LEAST_MADE, Share, Target, take_made, timed
from media_service.infra.codecs.programs.running import private_folder
from media_service.infra.codecs.sounds.plans import (
    Loudness,
    Sound,
    allowance,
    measured_files,
    measuring_arguments,
    plays_everywhere,
    read_loudness,
    sound_arguments,
)

_MADE, _MEASURED = "sound", "loudness"
_READ_END: Final = 4096

Size = tuple[int, int]


class SoundCodecs:
    """Implements `core.codec_ports.Codecs` for sounds; without an ffmpeg, nothing plays."""

    def __init__(self, cells: Cells, ffmpeg: Ffmpeg | None) -> None:
        self._cells = cells
        self._ffmpeg = ffmpeg

    def formats(self) -> frozenset[Format]:
        """The formats a cell has decoded when it started."""
        return formats_of(self._cells, MediaType.AUDIO)

    def versions(self) -> dict[str, str]:
        """The versions of the decoders, by name."""
        return versions_of(self._cells)

    async def inspect(self, source: Path, *, format: Format) -> Inspection:
        """As the port promises."""
        answer = await ask(self._cells, JobKind.INSPECT, {"format": format}, source=source)
        return sound_inspection(answer)

    async def develop(
        self,
        source: Path,
        *,
        format: Format,
        targets: Sequence[Target],
        on_progress: OnProgress = no_progress,
    ) -> list[Size]:
        """As the port promises; also raises StorageFull, StorageUnavailable.

        Pictures of a sound are WebP and fill their box.
        """
        drawn = [target for target in targets if _is_drawn(target[0])]
        played = [target for target in targets if isinstance(target[0], SoundRecipe)]
        if len(drawn) + len(played) < len(targets):
            raise ValueError("sounds become sounds, waveforms and WebP pictures of their wave")
        if drawn:
            await self._draw(source, format=format, targets=drawn)
        if played:
            sound = await self._describe(source, format)
            for number, (recipe, path) in enumerate(played):
                told = Share(sound.seconds, on_progress, number=number, of=len(played))
                await self._make(sound, source, recipe, path, on_time=told)
            on_progress(1.0)
        return [_size(recipe) for recipe, _ in targets]

    async def _draw(self, source: Path, *, format: Format, targets: Sequence[Target]) -> None:
        await ask(
            self._cells,
            JobKind.DEVELOP,
            {"format": format, "recipes": [recipe_to_record(recipe) for recipe, _ in targets]},
            source=source,
            targets=[path for _, path in targets],
        )

    async def _describe(self, source: Path, format: Format) -> Sound:
        answer = await ask(self._cells, JobKind.DESCRIBE, {"format": format}, source=source)
        return Sound.told(answer)

    async def _make(
        self, sound: Sound, source: Path, recipe: Recipe, path: Path, *, on_time: OnProgress
    ) -> None:
        assert isinstance(recipe, SoundRecipe)
        async with private_folder(path) as folder:
            loudness = None
            if recipe.normalized and sound.is_uniform:
                loudness = await self._measure(sound, source, folder)
            arguments = sound_arguments(sound, recipe, output=_MADE, loudness=loudness)
            with timed("sound"):
                seconds = await self._run(sound, arguments, source, folder, on_time)
            # What is remuxed keeps the gaps it had, so it can only be longer.
            if seconds < LEAST_MADE * sound.seconds - 1 and not plays_everywhere(sound, recipe):
                raise BrokenFile
            take_made(folder / _MADE, path)

    async def _measure(self, sound: Sound, source: Path, folder: Path) -> Loudness:
        arguments = measuring_arguments(sound, output=_MEASURED)
        with timed("loudness"):
            await self._run(sound, arguments, source, folder, no_progress)
        try:
            names = measured_files(sound, output=_MEASURED)
            return read_loudness([_end_of(folder / name) for name in names])
        except OSError as cause:
            raise BrokenFile from cause

    async def _run(
        self,
        sound: Sound,
        arguments: Sequence[str],
        source: Path,
        folder: Path,
        on_time: OnProgress,
    ) -> float:
        if self._ffmpeg is None:
            raise DecoderUnavailable
        made = await self._ffmpeg.run(
            arguments,
            source=source,
            folder=folder,
            allowance=allowance(sound, source_bytes=_size_bytes(source)),
            on_time=on_time,
        )
        return made.seconds


def _is_drawn(recipe: Recipe) -> bool:
    if isinstance(recipe, PictureRecipe):
        return recipe.encoding is Encoding.WEBP and not recipe.animated
    return isinstance(recipe, WaveformRecipe)


def _size(recipe: Recipe) -> Size:
    return (recipe.width, recipe.height) if isinstance(recipe, PictureRecipe) else (0, 0)


def _size_bytes(path: Path) -> int:
    return path.stat().st_size


def _end_of(path: Path) -> str:
    """The last lines of a file that a program left; nothing it links to is read. Raises OSError."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        start = max(0, os.fstat(opened).st_size - _READ_END)
        return os.pread(opened, _READ_END, start).decode(errors="replace")
    finally:
        os.close(opened)
