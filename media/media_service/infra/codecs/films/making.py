"""Making films of films: one file that plays everywhere, a stream of several sizes, a preview."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from media_service.core.codec_ports import OnProgress, no_progress
from media_service.core.errors import BrokenFile
from media_service.core.formats import Format
from media_service.core.recipes import (
    FilmRecipe,
    PictureRecipe,
    Recipe,
    StreamPart,
    StreamRecipe,
)
from media_service.infra.codecs.answers import ask
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.cells.queue import JobKind
from media_service.infra.codecs.films.description import Film, Size
from media_service.infra.codecs.films.plans import (
    allowance,
    film_arguments,
    is_all,
    plays_everywhere,
    preview_arguments,
    preview_chain,
)
from media_service.infra.codecs.films.playlists import (
    Rung,
    master_playlist,
    read_rung,
    rung_playlist,
)
from media_service.infra.codecs.films.streams import rung_files, rung_size, stream_arguments
from media_service.infra.codecs.programs.ffmpeg import Ffmpeg
from media_service.infra.codecs.programs.making import Share, Target, take_made, timed
from media_service.infra.codecs.programs.running import private_folder

_FILM, _PREVIEW = "film.mp4", "preview.webp"


class FilmMaker:
    """Runs ffmpeg, as often as a stage's targets need: once for all parts of a stream."""

    def __init__(self, ffmpeg: Ffmpeg, cells: Cells) -> None:
        self._ffmpeg = ffmpeg
        self._cells = cells

    async def develop(
        self,
        source: Path,
        *,
        format: Format,
        targets: Sequence[Target],
        on_progress: OnProgress = no_progress,
    ) -> list[Size]:
        """As `core.codec_ports.Codecs` promises, for films, streams and moving previews."""
        answer = await ask(self._cells, JobKind.DESCRIBE, {"format": format}, source=source)
        film = Film.told(answer)
        return await self.make(film, source, targets=targets, on_progress=on_progress)

    async def make(
        self,
        film: Film,
        source: Path,
        *,
        targets: Sequence[Target],
        on_progress: OnProgress = no_progress,
    ) -> list[Size]:
        """The same of a source that has been looked at."""
        works = _works(targets)
        sizes: dict[Path, Size] = {}
        for number, work in enumerate(works):
            share = Share(film.seconds, on_progress, number=number, of=len(works))
            async with private_folder(work[0][1]) as folder:
                making = _Making(self._ffmpeg, film, source, folder, share)
                sizes |= await making.make(work)
        on_progress(1.0)
        return [sizes[path] for _, path in targets]


class _Making:
    """One run of ffmpeg: its folder, and what becomes of what it leaves there."""

    def __init__(
        self, ffmpeg: Ffmpeg, film: Film, source: Path, folder: Path, on_time: OnProgress
    ) -> None:
        self._ffmpeg, self._film, self._source = ffmpeg, film, source
        self._folder, self._on_time = folder, on_time

    async def make(self, work: Sequence[Target]) -> dict[Path, Size]:
        """The sizes of what was made, by where it is."""
        recipe, path = work[0]
        if isinstance(recipe, FilmRecipe):
            return {path: await self._film_file(recipe, path)}
        if any(isinstance(recipe, StreamRecipe) for recipe, _ in work):
            return await self._stream(work)
        if isinstance(recipe, PictureRecipe) and recipe.animated:
            return {path: await self._preview(recipe, path)}
        raise ValueError("ffmpeg makes films, streams and moving previews")

    async def _film_file(self, recipe: FilmRecipe, path: Path) -> Size:
        """Remuxed if that will do; what turns out to be damaged is given to a decoder."""
        if plays_everywhere(self._film, recipe):
            with contextlib.suppress(BrokenFile):
                return await self._film_as(recipe, path, is_remux=True)
        return await self._film_as(recipe, path, is_remux=False)

    async def _film_as(self, recipe: FilmRecipe, path: Path, *, is_remux: bool) -> Size:
        arguments, size = film_arguments(self._film, recipe, is_remux=is_remux, output=_FILM)
        await self._run("remux" if is_remux else "film", arguments)
        self._take(_FILM, path)
        return size

    async def _preview(self, recipe: PictureRecipe, path: Path) -> Size:
        arguments, size = preview_arguments(self._film, recipe, output=_PREVIEW)
        await self._run("preview", arguments, is_whole=False)
        self._take(_PREVIEW, path)
        return size

    async def _stream(self, work: Sequence[Target]) -> dict[Path, Size]:
        stream = next(recipe for recipe, _ in work if isinstance(recipe, StreamRecipe))
        preview = next(((r, _PREVIEW) for r, _ in work if isinstance(r, PictureRecipe)), None)
        arguments = stream_arguments(
            self._film, stream.rungs, frame_rate=stream.frame_rate, preview=preview
        )
        made = await self._run("stream", arguments)
        most = max(made, self._film.seconds)
        rungs = {rung: self._rung(rung, stream).lasting(made, most) for rung in stream.rungs}
        return {path: self._take_part(recipe, path, rungs) for recipe, path in work}

    def _rung(self, rung: int, stream: StreamRecipe) -> Rung:
        playlist, segments = (self._folder / name for name in rung_files(rung))
        try:
            return read_rung(
                playlist,
                segments,
                short_side=rung,
                size=rung_size(self._film, rung),
                frame_rate=min(self._film.frame_rate, stream.frame_rate),
            )
        except OSError as cause:
            raise BrokenFile from cause

    def _take_part(self, recipe: Recipe, path: Path, rungs: dict[int, Rung]) -> Size:
        if isinstance(recipe, PictureRecipe):
            self._take(_PREVIEW, path)
            return preview_chain(self._film, recipe)[1]
        assert isinstance(recipe, StreamRecipe)
        match recipe.part:
            case StreamPart.MASTER:
                path.write_text(master_playlist(list(rungs.values())))
                return rung_size(self._film, recipe.rungs[-1])
            case StreamPart.PLAYLIST:
                path.write_text(rung_playlist(rungs[recipe.short_side]))
            case StreamPart.SEGMENTS:
                self._take(rung_files(recipe.short_side)[1], path)
        return rung_size(self._film, recipe.short_side)

    async def _run(self, kind: str, arguments: Sequence[str], *, is_whole: bool = True) -> float:
        """How many seconds were made."""
        with timed(kind):
            source_bytes = self._source.stat().st_size
            made = await self._ffmpeg.run(
                arguments,
                source=self._source,
                folder=self._folder,
                allowance=allowance(self._film, source_bytes=source_bytes),
                on_time=self._on_time,
            )
            if is_whole and not is_all(made, self._film):
                raise BrokenFile
        return made.seconds

    def _take(self, name: str, path: Path) -> None:
        take_made(self._folder / name, path)


def _works(targets: Sequence[Target]) -> list[list[Target]]:
    """What one run each makes: every film, and a stream with the preview of the same film."""
    films = [[target] for target in targets if isinstance(target[0], FilmRecipe)]
    others = [target for target in targets if not isinstance(target[0], FilmRecipe)]
    if any(isinstance(recipe, StreamRecipe) for recipe, _ in others):
        return [*films, others]
    return [*films, *([target] for target in others)]
