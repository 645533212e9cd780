"""Jobs: the work on media that waits in the queue, and when it is tried again."""

from __future__ import annotations

import dataclasses
import enum
from datetime import datetime, timedelta

from media_service.core.errors import DecoderUnavailable, MediaError, TooComplex, is_passing
from media_service.core.media import MediaId, UserId

TRIES = 5
"""How often a job is tried before its medium is FAILED, or it is parked."""
SLOW_TRIES = 72
"""How often a parked job is tried: hourly, so for three days."""
KILLED_TRIES = 3
"""How often one is whose decoder was killed from outside: memory may run out because of it."""
_SLOW = timedelta(hours=1)


class Urgency(enum.StrEnum):
    """Who waits for a job."""

    PERSON = "person"
    """Somebody has just uploaded this, or asked for it."""
    BACKFILL = "backfill"
    """Nobody waits: renditions made again, or in bulk. After all that a person waits for."""


class Queue(enum.StrEnum):
    """What kind of work waits; each kind has workers of its own."""

    DEVELOPING = "developing"
    """Whatever takes seconds: pictures, and the first stage of everything else."""
    TRANSCODING = "transcoding"
    """The later stages, which take minutes."""


class JobState(enum.StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    PARKED = "parked"
    """Something it needs has been away for long; tried hourly."""
    FAILED = "failed"
    """Given up; kept for a week, so that it can be looked at and begun again."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job: to make the renditions of this revision of a medium; why that FAILED, if it did."""

    id: int
    queue: Queue
    media_id: MediaId
    revision: int
    owner: UserId
    state: JobState
    urgency: Urgency
    attempts: int
    due_at: datetime | None = None
    failure_code: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs are meant: those that agree with everything that is said."""

    ids: tuple[int, ...] | None = None
    state: JobState | None = None
    owner: UserId | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobCounts:
    """How full a queue is."""

    waiting_for_a_person: int = 0
    waiting_backfill: int = 0
    running: int = 0
    parked: int = 0
    failed: int = 0
    oldest_waiting_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class QueueLimits:
    """How many jobs may wait, all together and of one owner."""

    waiting: int = 100_000
    of_one_owner: int = 10_000


def next_try(failures: int, *, slow_tries: int, luck: float) -> timedelta | None:
    """How long to wait after so many failures; None: it is over.

    `slow_tries`: how often it is tried once it is parked. `luck`, 0 to 1, spreads the tries.
    """
    if failures < TRIES:
        return timedelta(seconds=2**failures * (1 + luck / 2))
    if failures < TRIES + slow_tries:
        return _SLOW * (0.75 + luck / 2)
    return None


def slow_tries_after(error: BaseException) -> int:
    """How often what failed with this is tried once it is parked: not at all if it can't pass."""
    if _was_killed(error):
        return KILLED_TRIES
    return SLOW_TRIES if is_passing(error) else 0


def final_code(error: BaseException) -> str:
    """Why a medium FAILED whose job was given up after this."""
    if _was_killed(error):
        return TooComplex().code
    return error.code if isinstance(error, MediaError) else "internal_error"


def _was_killed(error: BaseException) -> bool:
    return isinstance(error, DecoderUnavailable) and error.was_killed
