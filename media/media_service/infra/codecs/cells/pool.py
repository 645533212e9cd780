"""Cells: the processes in which strangers' bytes meet a decoder, kept warm and replaced as needed.

A dead cell is one refused file, never more: its job fails, another cell takes its place, and no
answer can reach another job, as a cell is asked for the next only after it answered the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from prometheus_client import Counter, Gauge, Histogram

from media_service.core.errors import (
    BrokenFile,
    DecoderUnavailable,
    MediaError,
    StorageUnavailable,
    TooComplex,
)
from media_service.infra.codecs.cells import wire
from media_service.infra.codecs.cells.cell import Cell, CellDied, Death
from media_service.infra.codecs.cells.queue import Job, JobKind, JobQueue

IMAGE_CELL: Final = "media_service.infra.codecs.image_cell"
TIME_LIMITS: Final[Mapping[JobKind, float]] = {
    JobKind.INSPECT: 10.0,
    JobKind.DESCRIBE: 10.0,
    JobKind.DEVELOP: 30.0,
}
"""Seconds; of the clock for the parent, of the processor for the cell."""

_GRACE_SECONDS: Final = 1.0
"""How long a job whose caller has gone may go on: most end by then, and keep their cell warm."""
_WORN_OUT_BYTES: Final = 384 * 1024**2
_RETRY_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)

_JOB_SECONDS = Histogram(
    "mediad_cell_job_seconds",
    "Time a job spent in a cell.",
    ["kind"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_DEATHS = Counter("mediad_cell_deaths", "Cells that died or had to be killed.", ["reason"])
_WAITING = Gauge("mediad_cell_waiting", "Jobs that wait for a cell.", ["cell"])


class Cells:
    """A pool of cells, alive within its context.

    `warm` of them are started with it (all, if 0), others when jobs first wait for one.
    """

    def __init__(
        self,
        module: str = IMAGE_CELL,
        *,
        size: int = 0,
        warm: int = 0,
        max_waiting: int = 256,
        jobs_per_cell: int = 500,
        time_limits: Mapping[JobKind, float] = TIME_LIMITS,
    ) -> None:
        self._module = module
        self._size = size or len(os.sched_getaffinity(0))
        self._warm = min(warm or self._size, self._size)
        self._max_waiting = max_waiting
        self._jobs_per_cell = jobs_per_cell
        self._time_limits = time_limits
        self._queue = JobQueue(cells=self._size)
        _WAITING.labels(module.rsplit(".", 1)[-1]).set_function(self._queue.__len__)
        self._cells: set[Cell] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self.introduction: wire.Message = {}

    async def __aenter__(self) -> Self:
        """Start the warm cells. Raises CellDied if they can't be."""
        started = await asyncio.gather(
            *(Cell.start(self._module) for _ in range(self._warm)), return_exceptions=True
        )
        cells = [cell for cell in started if isinstance(cell, Cell)]
        if failures := [failure for failure in started if isinstance(failure, BaseException)]:
            await asyncio.gather(*(cell.end() for cell in cells))
            raise failures[0]
        self._cells.update(cells)
        self.introduction = cells[0].introduction
        self._keepers = [asyncio.create_task(self._keep(cell)) for cell in cells]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Kill all cells; what was waiting or under way is refused."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers = []
        self._queue.refuse_all(DecoderUnavailable())

    def sandbox(self) -> tuple[str, ...]:
        """The names of the confinements that took hold here."""
        return tuple(self.introduction["sandbox"])

    def pids(self) -> frozenset[int]:
        """The process ids of the cells that live now."""
        return frozenset(cell.pid for cell in self._cells)

    async def run(
        self, kind: JobKind, request: wire.Message, *, source: Path, targets: Sequence[Path] = ()
    ) -> wire.Message:
        """A cell's answer about the source; it writes to the targets.

        Raises DecoderUnavailable, TooComplex or BrokenFile if the cell died of it (BrokenFile for
        a crash: no sound file does that), StorageUnavailable for files that can't be opened.
        """
        if not self._keepers or len(self._queue) >= self._max_waiting:
            raise DecoderUnavailable
        job = Job(
            kind=kind,
            request=request,
            source=source,
            targets=targets,
            answer=asyncio.get_running_loop().create_future(),
            source_id=_source_id(source),
        )
        await self._queue.put(job)
        if self._queue.is_short_of_cells() and len(self._keepers) < self._size:
            self._keepers.append(asyncio.create_task(self._keep_another()))
        return await job.answer

    async def _keep_another(self) -> None:
        await self._keep(await self._start())

    async def _keep(self, cell: Cell) -> None:
        """Hand one job after the other to a cell; when it is dead or worn out, to a new one."""
        kept: wire.SourceId | None = None
        try:
            while True:
                job = await self._queue.take(kept=kept)
                if cell.is_alive():
                    await self._do(job, cell)
                    await self._queue.done(job)
                else:
                    _DEATHS.labels(Death.IDLE).inc()
                    await self._queue.put_back(job)  # which has nothing to do with it
                kept = job.source_id if job.kind is JobKind.INSPECT else None
                if self._is_spent(cell):
                    cell, kept = await self._replace(cell), None
        finally:
            self._cells.discard(cell)
            await cell.end()

    def _is_spent(self, cell: Cell) -> bool:
        return (
            not cell.is_alive()
            or cell.jobs >= self._jobs_per_cell
            or cell.resident_bytes() > _WORN_OUT_BYTES
        )

    async def _replace(self, cell: Cell) -> Cell:
        self._cells.discard(cell)
        await cell.end()
        return await self._start()

    async def _start(self) -> Cell:
        """One more cell, however often it takes to start it."""
        while True:
            try:
                fresh = await Cell.start(self._module)
            except (CellDied, OSError) as cause:
                _log.error("no cell could be started: %s", cause)
                if not self._cells:
                    self._queue.refuse_all(DecoderUnavailable())
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._cells.add(fresh)
                return fresh

    async def _do(self, job: Job, cell: Cell) -> None:
        """Have the job answered, one way or the other."""
        outcome: wire.Message | Exception = DecoderUnavailable()
        try:
            with contextlib.ExitStack() as opened, _JOB_SECONDS.labels(job.kind).time():
                outcome = await self._ask(job, cell, files=_open_files(job, opened))
        except CellDied as death:
            outcome = _verdict(death)
            await cell.end()
        except OSError as cause:
            outcome = StorageUnavailable()
            outcome.__cause__ = cause
        except Exception as bug:  # noqa: BLE001 - for the caller to hear of; the pool goes on
            outcome = bug
            await cell.end()
        finally:
            if job.answer.done():
                pass
            elif isinstance(outcome, Exception):
                job.answer.set_exception(outcome)
            else:
                job.answer.set_result(outcome)

    async def _ask(self, job: Job, cell: Cell, *, files: Sequence[int]) -> wire.Message:
        """The cell's answer. Raises CellDied if it dies, or must because there is none in time."""
        limit = self._time_limits[job.kind]
        request = {"kind": job.kind, "cpu_seconds": limit, **job.request}
        asking = asyncio.create_task(cell.ask(request, files=files))
        try:
            await asyncio.wait(
                {asking, job.answer}, timeout=limit, return_when=asyncio.FIRST_COMPLETED
            )
            is_abandoned = job.answer.done()
            if is_abandoned:
                await asyncio.wait({asking}, timeout=min(limit, _GRACE_SECONDS))
            if asking.done():
                return asking.result()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        raise CellDied(Death.ABANDONED if is_abandoned else Death.TIMEOUT)


def _source_id(source: Path) -> wire.SourceId | None:
    """None if it can't be told; the job will find out why."""
    try:
        return wire.source_id(source)
    except OSError:
        return None


def _open_files(job: Job, opened: contextlib.ExitStack) -> list[int]:
    """Descriptors of the source, to read, and the targets, to write. Raises OSError."""
    writing = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    files = []
    for path, mode in ((job.source, os.O_RDONLY), *((path, writing) for path in job.targets)):
        files.append(os.open(path, mode | os.O_CLOEXEC, 0o600))
        opened.callback(os.close, files[-1])
    return files


def _verdict(death: CellDied) -> MediaError:
    """A crash is for what the file holds, the rest for what it costs."""
    _DEATHS.labels(death.reason).inc()
    _log.warning("a cell died of its job: %s", death.reason)
    refusal = BrokenFile() if death.reason is Death.CRASH else TooComplex()
    refusal.__cause__ = death
    return refusal
