"""Ports: the queue of jobs as a whole, and the processes that work at it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol

from media_service.core.jobs import Job, JobCounts, JobFilter, Queue
from media_service.core.media import UserId


class JobQueue(Protocol):
    """The queue as operators and limits see it. Raises DatabaseUnavailable."""

    async def count_waiting(self, *, at_most: int) -> int:
        """How many jobs wait; none are counted beyond `at_most`."""

    async def count_waiting_of(self, owner: UserId, *, at_most: int) -> int:
        """How many jobs of this owner wait to be tried for the first time."""

    async def find(self, which: JobFilter, *, limit: int) -> list[Job]:
        """These jobs, in the order in which they came."""

    async def counts(self) -> dict[Queue, JobCounts]:
        """How full each queue is."""

    async def forget_failed(self, *, older_than: timedelta) -> int:
        """Remove jobs that were given up before; how many that were."""


class Processes(Protocol):
    """What the processes of all machines know of each other. Raises DatabaseUnavailable."""

    async def end_stalled(self, *, silent_for: timedelta) -> int:
        """End the sessions of processes that were not heard of for so long, with their locks.

        A process that was stopped keeps its connections, and others would wait for its locks.
        """

    def turn(self, duty: str, *, every: timedelta) -> AbstractAsyncContextManager[int | None]:
        """How often the duty was done before, if it is due; else None.

        While the context lasts no other process has a turn at it. A process that dies or stalls
        loses its turn with its session.
        """
