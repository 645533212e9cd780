"""A worker that dies at a certain step of a transcode: `python -m proofs.transcoder STEP`.

It begins when it is given a line, and tells its children's ids before it dies. Steps are counted
from 1 in the order of `STEPS`, from the moment on at which a transcode begins.
"""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from media_service.core.codec_ports import OnProgress
from media_service.core.media import MediaId, ProcessingStatus
from media_service.core.processing import Processing
from media_service.core.recipes import Recipe
from media_service.entrypoints.worker import jobs as worker_jobs
from media_service.entrypoints.worker.fencing import FencedJobs
from media_service.infra.blobs.local import LocalBlobs
from media_service.infra.codecs.films.codecs import FilmCodecs
from media_service.infra.postgres.media import PostgresMedia
from media_service.infra.postgres.renditions import PostgresRenditions
from procrastinate import jobs

from proofs.worker import Counter, work_for_ever

_SHARES = (0.05, 0.5, 0.8)
_PARTS = ("master", "playlist", "segments", "preview")


def _steps_of(stage: str, parts: Sequence[str]) -> list[str]:
    return [
        *(f"{when} saving the row for {stage}" for when in ("before", "after")),
        f"before ffmpeg makes {stage}",
        *(f"{share:.0%} of {stage}" for share in _SHARES),
        f"after ffmpeg made {stage}",
        *(f"{when} putting {part}" for part in parts for when in ("before", "after")),
        *(f"{when} the rows of {stage}" for when in ("before", "after")),
    ]


STEPS = (
    "job claimed",
    *(f"{when} saving the row for previews" for when in ("before", "after")),
    *_steps_of("the film", ("film",)),
    *_steps_of("the stream", _PARTS),
    *("before COMPLETED", "after COMPLETED"),
    *("job done", "before ack"),
)


async def _rescue_nobody(*_: object) -> None:
    """What others left when they died is for one who lives: five deaths would end it FAILED."""
    await asyncio.Event().wait()


class _WhileTranscoding(Counter):
    """Counts nothing before a transcode begins."""

    has_begun = False

    def step(self) -> None:
        if self.has_begun:
            super().step()


def _instrument(counter: _WhileTranscoding) -> None:
    transcode, develop = Processing.transcode, FilmCodecs.develop

    async def transcoding(
        self: Processing, media_id: MediaId, *, revision: int
    ) -> ProcessingStatus:
        counter.has_begun = True
        counter.step()
        status = await transcode(self, media_id, revision=revision)
        counter.step()
        return status

    async def developing(
        self: FilmCodecs,
        source: Path,
        *,
        targets: Sequence[tuple[Recipe, Path]],
        on_progress: OnProgress,
        **more: Any,
    ) -> list[tuple[int, int]]:
        counter.step()
        left = list(_SHARES)

        def note(share: float) -> None:
            while left and share >= left[0]:
                left.pop(0)
                counter.step()
            on_progress(share)

        made = await develop(self, source, targets=targets, on_progress=note, **more)
        note(1)
        counter.step()
        return made

    worker_jobs.rescue = _rescue_nobody  # type: ignore[attr-defined,assignment]
    Processing.transcode = functools.wraps(transcode)(transcoding)  # type: ignore[method-assign]
    FilmCodecs.develop = functools.wraps(develop)(developing)  # type: ignore[assignment,method-assign]
    counter.around(PostgresMedia, "update")
    counter.around(LocalBlobs, "put")
    counter.around(PostgresRenditions, "put")
    _instrument_end(counter)


def _instrument_end(counter: Counter) -> None:
    finish = FencedJobs.finish_job

    async def finishing(self: FencedJobs, job: jobs.Job, *more: Any, **named: Any) -> None:
        if job.task_name == "transcode":
            counter.step()
        await finish(self, job, *more, **named)

    FencedJobs.finish_job = functools.wraps(finish)(finishing)  # type: ignore[method-assign]


if __name__ == "__main__":
    _instrument(_WhileTranscoding(signal=signal.SIGKILL, step=int(sys.argv[1])))
    asyncio.run(work_for_ever())
