"""Which job goes next: a person waits for an inspection, hardly ever for a development."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from media_service.infra.codecs.cells import wire

_PATIENCE: Final = 4
"""Every so many jobs a development goes first, so that uploads without end don't stop them."""


class JobKind(enum.StrEnum):
    """What a cell can be asked for."""

    INSPECT = "inspect"
    DEVELOP = "develop"
    DESCRIBE = "describe"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """Work for a cell, and where its answer goes."""

    kind: JobKind
    request: wire.Message
    source: Path
    targets: Sequence[Path]
    answer: asyncio.Future[wire.Message]
    source_id: wire.SourceId | None = None


class JobQueue:
    """Inspections before developments, and always a cell that is free of developments.

    So of two cells or more one only ever inspects while the others develop. A cell that waits and
    has kept a source's pixels gets that source's development; inspections, which would replace
    them, go to a waiting cell that has kept none.
    """

    def __init__(self, *, cells: int) -> None:
        self._waiting: dict[JobKind, collections.deque[Job]] = {
            kind: collections.deque() for kind in JobKind
        }
        self._most_developing = max(1, cells - 1)
        self._developing = 0
        self._taken = 0
        self._changed = asyncio.Condition()
        self._kept_by_idle: list[wire.SourceId | None] = []

    def __len__(self) -> int:
        """How many jobs wait whose callers still do."""
        return sum(not job.answer.done() for jobs in self._waiting.values() for job in jobs)

    def is_short_of_cells(self) -> bool:
        """Whether more jobs wait than cells do."""
        return len(self) > len(self._kept_by_idle)

    async def put(self, job: Job) -> None:
        """Add it at the end."""
        async with self._changed:
            self._waiting[job.kind].append(job)
            self._changed.notify_all()

    async def take(self, *, kept: wire.SourceId | None = None) -> Job:
        """Wait for a job; `done` must be called after it. `kept`: whose pixels the cell has."""
        async with self._changed:
            self._kept_by_idle.append(kept)
            try:
                while (job := self._next(kept)) is None:
                    await self._changed.wait()
                return job
            finally:
                self._kept_by_idle.remove(kept)
                self._changed.notify_all()  # what was left to this cell is anyone's now

    async def done(self, job: Job) -> None:
        """The cell that took it is free again."""
        async with self._changed:
            self._developing -= job.kind is JobKind.DEVELOP
            self._changed.notify_all()

    async def put_back(self, job: Job) -> None:
        """The cell that took it can't do it: another may, first of all."""
        self._waiting[job.kind].appendleft(job)
        await self.done(job)

    def refuse_all(self, error: Exception) -> None:
        """Answer every waiting job with an error."""
        for jobs in self._waiting.values():
            while jobs:
                answer = jobs.popleft().answer
                if not answer.done():
                    answer.set_exception(error)

    def _next(self, kept: wire.SourceId | None) -> Job | None:
        order = list(JobKind)
        if self._taken % _PATIENCE == _PATIENCE - 1:
            order.reverse()
        for kind in order:
            if kind is JobKind.DEVELOP and self._developing >= self._most_developing:
                continue
            if kind is JobKind.INSPECT and kept and None in self._kept_by_idle:
                continue
            if job := self._first(kind, kept):
                self._taken += 1
                self._developing += kind is JobKind.DEVELOP
                return job
        return None

    def _first(self, kind: JobKind, kept: wire.SourceId | None) -> Job | None:
        """The longest waiting whose caller has not gone, and that no other idle cell is for."""
        jobs = self._waiting[kind]
        while jobs and jobs[0].answer.done():
            jobs.popleft()
        for job in jobs:
            is_for_another = job.source_id != kept and job.source_id in self._kept_by_idle
            if kind is JobKind.DEVELOP and job.source_id and is_for_another:
                continue
            if not job.answer.done():
                jobs.remove(job)
                return job
        return None
