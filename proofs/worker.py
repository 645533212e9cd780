"""A worker that dies or sleeps at a certain step: `python -m proofs.worker kill|stop STEP [other]`.

It begins when it is given a line. Steps are counted from 1 in the order of `STEPS`, each time one
is come by. `other` makes its renditions differ from those that others make of the same original.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from media_service.composition import open_media_service
from media_service.config import read_settings
from media_service.core.codec_ports import OnProgress, no_progress
from media_service.core.formats import Format
from media_service.core.processing import Processing
from media_service.core.recipes import PictureRecipe
from media_service.entrypoints.worker.fencing import FencedJobs
from media_service.entrypoints.worker.jobs import WorkerSettings, work
from media_service.infra.blobs.local import LocalBlobs
from media_service.infra.codecs.pictures.codecs import ImageCodecs
from media_service.infra.postgres.media import PostgresMedia
from media_service.infra.postgres.renditions import PostgresRenditions

STEPS = (
    "job claimed",
    *("before PROCESSING", "after PROCESSING"),
    *("before decode", "after decode"),
    *(f"{when} rendition {n}" for n in range(1, 5) for when in ("before", "after")),
    *("before rendition rows", "after rendition rows"),
    *("before COMPLETED", "after COMPLETED"),
    *("job done", "before ack", "after ack"),
)
_COMMENT = b"\xff\xfe\x00\x07other"
Method = Callable[..., Awaitable[Any]]


class Counter:
    """Counts the steps that this process comes by, until the one at which it ends."""

    def __init__(self, *, signal: signal.Signals, step: int) -> None:
        self._signal = signal
        self._last = step
        self._at = 0

    def step(self) -> None:
        """One more. At the last, this process is dead or asleep before the next line."""
        self._at += 1
        if self._at == self._last:
            print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
            os.kill(os.getpid(), self._signal)

    def around(self, owner: type, name: str, *, is_ended: bool = True) -> None:
        """Count a step before a method, and one after it."""
        method: Method = getattr(owner, name)

        @functools.wraps(method)
        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.step()
            answer = await method(*args, **kwargs)
            if is_ended:
                self.step()
            return answer

        setattr(owner, name, counted)


def _instrument(counter: Counter) -> None:
    counter.around(Processing, "run")
    counter.around(PostgresMedia, "update")
    counter.around(ImageCodecs, "develop")
    counter.around(LocalBlobs, "put")
    counter.around(PostgresRenditions, "put")
    counter.around(FencedJobs, "finish_job")


def _differ() -> None:
    """Add a comment to each JPEG that is made."""
    method = ImageCodecs.develop

    async def develop(
        codecs: ImageCodecs,
        source: Path,
        *,
        format: Format,
        targets: Sequence[tuple[PictureRecipe, Path]],
        on_progress: OnProgress = no_progress,
    ) -> list[tuple[int, int]]:
        sizes = await method(
            codecs, source, format=format, targets=targets, on_progress=on_progress
        )
        for _, path in targets:
            made = path.read_bytes()
            path.write_bytes(made[:2] + _COMMENT + made[2:])
        return sizes

    ImageCodecs.develop = develop  # type: ignore[method-assign,assignment]


async def main(how: str, step: int, *, is_other: bool) -> None:
    """Work until the step, or for ever."""
    if is_other:
        _differ()
    _instrument(Counter(signal=signal.SIGKILL if how == "kill" else signal.SIGSTOP, step=step))
    await work_for_ever()


async def work_for_ever() -> None:
    """Do jobs, from the moment on at which a line is given."""
    async with open_media_service(read_settings()) as opened:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        settings = WorkerSettings(
            database_url=opened.database_url,
            connection_name=opened.connection_name,
            concurrency=1,
        )
        service = opened.service
        async with work(settings, processing=service.processing, processes=service.processes):
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), is_other="other" in sys.argv[3:]))
