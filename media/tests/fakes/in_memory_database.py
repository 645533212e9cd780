"""The rows in memory, with the manners of PostgreSQL at READ COMMITTED.

What a transaction changes is seen by others when it commits, all at once. Who changes a row that
another transaction has changed waits until that is over, and then looks at the row again.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from fakes.clock import SettableClock
from media_service.core.blobs import Blob, BlobState, HeldBlob, LockNumber, StoredRendition
from media_service.core.errors import DatabaseUnavailable, IdempotencyKeyReused
from media_service.core.jobs import Job, JobCounts, JobFilter, JobState, Queue, Urgency
from media_service.core.media import Media, MediaId, ProcessingStatus, Sha256, UserId
from media_service.core.ports import Clock
from media_service.core.recipes import TRANSFORMED

_OVER = (ProcessingStatus.COMPLETED, ProcessingStatus.FAILED)
_UNFINISHED = (ProcessingStatus.PENDING, ProcessingStatus.PROCESSING)
_CHANGEABLE = (
    "filename",
    "blurhash",
    "status",
    "failure_code",
    "options",
    "renditions",
    "policy_version",
    "revision",
    "idempotency_key",
    "updated_at",
    "deleted_at",
    "stage_percent",
)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class RowRefused(Exception):
    """A row broke a rule of the schema: a bug of whoever wrote it."""


@dataclasses.dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job to develop a revision of a medium. Equal to another of the same revision."""

    media_id: MediaId
    revision: int
    owner: UserId = dataclasses.field(default=UserId(""), compare=False)
    urgency: Urgency = dataclasses.field(default=Urgency.PERSON, compare=False)
    state: JobState = dataclasses.field(default=JobState.WAITING, compare=False)
    id: int = dataclasses.field(default=0, compare=False)
    queue: Queue = Queue.DEVELOPING


class InMemoryDatabase:
    """Keeps `core.ports.Database`.

    `clock` is its own: processes may have others. `calls` counts what was asked, by names such as
    `media.find` or `commit`; what stands in `before` under such a name is awaited first, and may
    wait or raise.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SettableClock()
        self.media: dict[MediaId, Media] = {}
        self.blobs: dict[Sha256, Blob] = {}
        self.renditions: dict[tuple[Sha256, str], StoredRendition] = {}
        self.jobs: list[QueuedJob] = []
        self.job_ids = itertools.count(1)
        self.calls: collections.Counter[str] = collections.Counter()
        self.before: dict[str, Callable[[], Awaitable[object]]] = {}
        self.latest = InMemoryRows(self._statement)
        self.queue = InMemoryQueue(self)
        self.processes = InMemoryProcesses()
        self.is_away = False
        self._starts = 0
        self._advisory = _Locks()
        self._rows = _Locks()

    def go_away(self) -> None:
        """Answer nothing any more; transactions under way are lost."""
        self.is_away = True
        self._starts += 1

    def end_sessions(self) -> None:
        """End every transaction under way, and with it its locks."""
        self._starts += 1
        self._rows.release_all()
        self._advisory.release_all()

    def come_back(self) -> None:
        """Answer again."""
        self.is_away = False

    @asynccontextmanager
    async def transaction(self, *locks: LockNumber) -> AsyncIterator[InMemoryRows]:
        """All or nothing, holding the locks until it is over."""
        session = _Session(self)
        try:
            await self._reach("begin", session)
            for number in locks:
                await self._advisory.take(number, session)
            yield InMemoryRows(lambda name: self._inside(session, name))
            await self._reach("commit", session)
            session.commit()
        finally:
            self._rows.release(session)
            self._advisory.release(session)

    @asynccontextmanager
    async def _inside(self, session: _Session, name: str) -> AsyncIterator[_Session]:
        await self._reach(name, session)
        yield session

    @asynccontextmanager
    async def _statement(self, name: str) -> AsyncIterator[_Session]:
        """A transaction of one statement."""
        session = _Session(self)
        try:
            await self._reach(name, session)
            yield session
            session.commit()
        finally:
            self._rows.release(session)

    async def _reach(self, name: str, session: _Session) -> None:
        self.calls[name] += 1
        await asyncio.sleep(0)
        if name in self.before:
            await self.before[name]()
        if self.is_away or session.start != self._starts:
            raise DatabaseUnavailable

    async def hold_row(self, row: Hashable, session: _Session) -> None:
        """Wait until no other transaction has changed the row, and be the one who does."""
        await self._rows.take(row, session)

    @property
    def starts(self) -> int:
        """How often it went away; who began before then is lost."""
        return self._starts


Statement = Callable[[str], AbstractAsyncContextManager["_Session"]]


class _Locks:
    """Locks by name, each held by one session until it lets go of all of them."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, asyncio.Lock] = {}
        self._held: dict[_Session, dict[Hashable, asyncio.Lock]] = {}

    async def take(self, name: Hashable, session: _Session) -> None:
        held = self._held.setdefault(session, {})
        if name not in held:
            lock = self._locks.setdefault(name, asyncio.Lock())
            await lock.acquire()
            held[name] = lock

    def release_all(self) -> None:
        for session in list(self._held):
            self.release(session)

    def release(self, session: _Session) -> None:
        for lock in self._held.pop(session, {}).values():
            lock.release()


class _View(Generic[K, V]):
    """A table as one transaction sees it: what is committed, under what it changed itself."""

    def __init__(self, committed: dict[K, V]) -> None:
        self._committed = committed
        self._changed: dict[K, V | None] = {}

    def get(self, key: K) -> V | None:
        return self._changed[key] if key in self._changed else self._committed.get(key)

    def put(self, key: K, row: V | None) -> None:
        self._changed[key] = row

    def rows(self) -> list[V]:
        seen: dict[K, V | None] = {**self._committed, **self._changed}
        return [row for row in seen.values() if row is not None]

    def commit(self) -> None:
        for key, row in self._changed.items():
            if row is None:
                self._committed.pop(key, None)
            else:
                self._committed[key] = row


class _Session:
    """What one transaction sees and has changed."""

    def __init__(self, database: InMemoryDatabase) -> None:
        self.start = database.starts
        self.clock = database.clock
        self.media = _View(database.media)
        self.blobs = _View(database.blobs)
        self.renditions = _View(database.renditions)
        self.jobs: list[QueuedJob] = []
        self.discarded: set[MediaId] = set()
        self.queued = database.jobs
        self._database = database

    async def hold(self, *row: Hashable) -> None:
        await self._database.hold_row(row, self)

    def commit(self) -> None:
        for view in (self.media, self.blobs, self.renditions):
            view.commit()
        kept = [job for job in self._database.jobs if job.media_id not in self.discarded]
        self._database.jobs[:] = kept + self.jobs

    def enqueue(self, job: QueuedJob) -> None:
        self.jobs.append(dataclasses.replace(job, id=next(self._database.job_ids)))


class InMemoryRows:
    """All rows, through one way of running statements."""

    def __init__(self, statement: Statement) -> None:
        self.media = InMemoryMedia(statement)
        self.blobs = InMemoryBlobRows(statement)
        self.renditions = InMemoryRenditions(statement)
        self.jobs = InMemoryJobs(statement)
        self._statement = statement

    async def now(self) -> datetime:
        """The time by the database's clock."""
        async with self._statement("now") as session:
            return session.clock()


class InMemoryMedia:
    """Keeps `core.ports.MediaRows`."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement

    async def find(self, ids: Sequence[MediaId]) -> dict[MediaId, Media]:
        """Those that are there."""
        async with self._statement("media.find") as session:
            found = ((media_id, session.media.get(media_id)) for media_id in ids)
            return {media_id: media for media_id, media in found if media}

    async def find_by_idempotency_key(self, owner: UserId, key: str) -> Media | None:
        """The medium this owner uploaded under this key, unless it was deleted."""
        async with self._statement("media.find_by_idempotency_key") as session:
            return _by_key(session, owner, key)

    async def insert(self, media: Media) -> None:
        """Add a row. Raises IdempotencyKeyReused if owner and key are taken."""
        async with self._statement("media.insert") as session:
            await session.hold("media", media.id)
            await session.hold("key", media.owner, media.idempotency_key or media.id)
            _require_text(media)
            if session.media.get(media.id) or not session.blobs.get(media.sha256):
                raise RowRefused
            if _by_key(session, media.owner, media.idempotency_key):
                raise IdempotencyKeyReused
            session.media.put(media.id, media)

    async def update(self, media: Media, *, revision: int) -> bool:
        """Write what can change, if the row may still change so."""
        async with self._statement("media.update") as session:
            await session.hold("media", media.id)
            _require_text(media)
            found = session.media.get(media.id)
            if found is None or found.deleted_at or found.revision != revision:
                return False
            if media.revision == revision and not media.deleted_at and _undoes(media, found):
                return False
            await session.hold("key", found.owner, found.idempotency_key or found.id)
            changes = {name: getattr(media, name) for name in _CHANGEABLE}
            session.media.put(media.id, dataclasses.replace(found, **changes))
            return True

    async def note_progress(self, media_id: MediaId, *, revision: int, percent: int) -> bool:
        """Note how much of the stage under way is done; whether the row may still change so."""
        async with self._statement("media.note_progress") as session:
            await session.hold("media", media_id)
            found = session.media.get(media_id)
            if found is None or found.deleted_at or found.revision != revision:
                return False
            if found.status not in _UNFINISHED:
                return False
            most = max(found.stage_percent, percent)
            session.media.put(media_id, dataclasses.replace(found, stage_percent=most))
            return True

    async def expired(
        self, now: datetime, *, limit: int, after: Media | None = None
    ) -> list[Media]:
        """Media past their expiry that are not deleted yet, oldest first, those that come after."""
        async with self._statement("media.expired") as session:
            found = {
                (media.expires_at, media.id): media
                for media in session.media.rows()
                if media.expires_at and media.expires_at <= now and not media.deleted_at
            }
            first = (after.expires_at or now, after.id) if after else None
            return [found[key] for key in sorted(found) if not first or key > first][:limit]

    async def holding(self, sha256: Sha256, *, limit: int) -> list[Media]:
        """Media of this content that are not deleted."""
        async with self._statement("media.holding") as session:
            rows = session.media.rows()
            return [m for m in rows if m.sha256 == sha256 and not m.deleted_at][:limit]

    async def failed(self, sha256: Sha256, *, code: str, limit: int) -> list[Media]:
        """Media of this content that are FAILED with this code, and not deleted."""
        async with self._statement("media.failed") as session:
            held = (m for m in session.media.rows() if m.sha256 == sha256 and not m.deleted_at)
            failed = (m for m in held if m.status is ProcessingStatus.FAILED)
            return [m for m in failed if m.failure_code == code][:limit]

    async def owned_by(
        self, owner: UserId, *, after: MediaId | None = None, limit: int
    ) -> list[Media]:
        """The owner's media, deleted ones too, in the order of their ids, those that come after."""
        async with self._statement("media.owned_by") as session:
            owned = sorted((m for m in session.media.rows() if m.owner == owner), key=_id_of)
            return [m for m in owned if not after or m.id > after][:limit]

    async def remove(self, ids: Sequence[MediaId]) -> None:
        """Remove the rows of media that are deleted, for good."""
        async with self._statement("media.remove") as session:
            for media in [session.media.get(media_id) for media_id in ids]:
                if media and media.deleted_at:
                    await session.hold("media", media.id)
                    session.media.put(media.id, None)

    async def remove_deleted(self, before: datetime, *, limit: int) -> int:
        """Remove rows of media deleted before this moment, for good; how many."""
        async with self._statement("media.remove_deleted") as session:
            rows = session.media.rows()
            found = [m for m in rows if m.deleted_at and m.deleted_at <= before][:limit]
            for media in found:
                await session.hold("media", media.id)
                session.media.put(media.id, None)
            return len(found)


def _id_of(media: Media) -> MediaId:
    return media.id


def _undoes(late: Media, found: Media) -> bool:
    completes = late.status is ProcessingStatus.COMPLETED
    failed = found.status is ProcessingStatus.FAILED
    return found.status in _OVER and not (failed and completes)


def _by_key(session: _Session, owner: UserId, key: str) -> Media | None:
    live = (m for m in session.media.rows() if key and not m.deleted_at)
    return next((m for m in live if (m.owner, m.idempotency_key) == (owner, key)), None)


def _require_text(media: Media) -> None:
    """PostgreSQL's text holds no NUL."""
    if any("\0" in str(getattr(media, field.name)) for field in dataclasses.fields(media)):
        raise RowRefused


class InMemoryBlobRows:
    """Keeps `core.ports.BlobRows`."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement

    async def find(self, sha256s: Sequence[Sha256]) -> dict[Sha256, Blob]:
        """Those that are there, live or condemned."""
        async with self._statement("blobs.find") as session:
            found = ((sha256, session.blobs.get(sha256)) for sha256 in sha256s)
            return {sha256: blob for sha256, blob in found if blob}

    async def keep(self, blob: Blob) -> None:
        """Add the blob, or revive it if it was condemned."""
        async with self._statement("blobs.keep") as session:
            await session.hold("blob", blob.sha256)
            kept = session.blobs.get(blob.sha256) or blob
            live = dataclasses.replace(
                kept, state=BlobState.LIVE, condemned_at=None, damaged_at=None
            )
            session.blobs.put(blob.sha256, live)

    async def condemn_unheld(self, sha256: Sha256, *, now: datetime) -> None:
        """Condemn the blob if no medium that is not deleted holds it."""
        async with self._statement("blobs.condemn_unheld") as session:
            await session.hold("blob", sha256)
            blob = session.blobs.get(sha256)
            if blob and blob.state is BlobState.LIVE and not _is_held(session, sha256):
                condemned = dataclasses.replace(blob, state=BlobState.CONDEMNED, condemned_at=now)
                session.blobs.put(sha256, condemned)

    async def condemned(
        self, before: datetime, *, limit: int, after: Blob | None = None
    ) -> list[Blob]:
        """Blobs condemned before this moment, oldest first, those that come after."""
        async with self._statement("blobs.condemned") as session:
            found = {
                (blob.condemned_at, blob.sha256): blob
                for blob in session.blobs.rows()
                if blob.condemned_at and blob.condemned_at <= before
            }
            first = (after.condemned_at or before, after.sha256) if after else None
            return [found[key] for key in sorted(found) if not first or key > first][:limit]

    async def note_damage(self, sha256: Sha256, *, now: datetime) -> bool:
        """Note that its bytes are missing or wrong; whether that is news."""
        return await self._note(sha256, now)

    async def note_sound(self, sha256: Sha256) -> bool:
        """Note that its bytes are right; whether that is news."""
        return await self._note(sha256, None)

    async def _note(self, sha256: Sha256, damaged_at: datetime | None) -> bool:
        async with self._statement("blobs.note") as session:
            await session.hold("blob", sha256)
            blob = session.blobs.get(sha256)
            if blob is None or bool(blob.damaged_at) is bool(damaged_at):
                return False
            session.blobs.put(sha256, dataclasses.replace(blob, damaged_at=damaged_at))
            return True

    async def count_damaged(self) -> int:
        """How many are noted as damaged."""
        async with self._statement("blobs.count_damaged") as session:
            return sum(blob.damaged_at is not None for blob in session.blobs.rows())

    async def within(self, start: str, end: str, *, limit: int) -> list[HeldBlob]:
        """Those with hashes from `start` up to, not including, `end`, in their order."""
        async with self._statement("blobs.within") as session:
            found = {b.sha256: b for b in session.blobs.rows() if start <= b.sha256 < end}
            return [
                HeldBlob(found[sha256], is_held=_is_held(session, sha256))
                for sha256 in sorted(found)
            ][:limit]

    async def remove(self, sha256: Sha256) -> None:
        """Remove the blob's row and those of its renditions."""
        async with self._statement("blobs.remove") as session:
            await session.hold("blob", sha256)
            if _is_held(session, sha256):
                raise RowRefused
            session.blobs.put(sha256, None)
            for rendition in session.renditions.rows():
                if rendition.source == sha256:
                    session.renditions.put((sha256, rendition.recipe_key), None)
            for media in session.media.rows():
                if media.sha256 == sha256:
                    session.media.put(media.id, dataclasses.replace(media, sha256=Sha256("")))


def _is_held(session: _Session, sha256: Sha256) -> bool:
    return any(m.sha256 == sha256 and not m.deleted_at for m in session.media.rows())


class InMemoryRenditions:
    """Keeps `core.ports.RenditionRows`."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement

    async def find(
        self, source: Sha256, *, recipe_keys: Iterable[str]
    ) -> dict[str, StoredRendition]:
        """Those that are there, by recipe key."""
        async with self._statement("renditions.find") as session:
            found = ((key, session.renditions.get((source, key))) for key in recipe_keys)
            return {key: rendition for key, rendition in found if rendition}

    async def find_version(self, source: Sha256, *, version: str) -> StoredRendition | None:
        """One made by the recipe of this version."""
        async with self._statement("renditions.find_version") as session:
            if "\0" in version:
                raise RowRefused
            made = (r for r in session.renditions.rows() if r.source == source)
            return next((r for r in made if r.version == version), None)

    async def made_of(self, sources: Sequence[Sha256]) -> list[StoredRendition]:
        """Every one made of these originals."""
        async with self._statement("renditions.made_of") as session:
            return [r for r in session.renditions.rows() if r.source in sources]

    async def transformed(self, source: Sha256, *, but: int) -> list[StoredRendition]:
        """Those of this original that URLs asked for, but for so many of the newest."""
        async with self._statement("renditions.transformed") as session:
            mine = [
                r
                for r in session.renditions.rows()
                if r.source == source and r.recipe_key.startswith(TRANSFORMED)
            ]
            return mine[::-1][but:]

    async def put(self, renditions: Sequence[StoredRendition]) -> None:
        """Add them, or replace those of the same recipe."""
        async with self._statement("renditions.put") as session:
            for rendition in renditions:
                await session.hold("rendition", rendition.source, rendition.recipe_key)
                if not session.blobs.get(rendition.source):
                    raise RowRefused
                session.renditions.put((rendition.source, rendition.recipe_key), rendition)

    async def forget(self, renditions: Sequence[StoredRendition]) -> None:
        """Remove their rows, unless they were replaced meanwhile."""
        async with self._statement("renditions.forget") as session:
            for rendition in renditions:
                key = (rendition.source, rendition.recipe_key)
                await session.hold("rendition", *key)
                found = session.renditions.get(key)
                if found and found.checksum == rendition.checksum:
                    session.renditions.put(key, None)


class InMemoryJobs:
    """Keeps `core.ports.Jobs`."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement

    async def enqueue_developing(self, media: Media, *, urgency: Urgency = Urgency.PERSON) -> None:
        """Have the renditions of this revision of the medium made."""
        async with self._statement("jobs.enqueue_developing") as session:
            session.enqueue(QueuedJob(media.id, media.revision, media.owner, urgency))

    async def enqueue_transcoding(self, media: Media, *, urgency: Urgency = Urgency.PERSON) -> None:
        """Have what takes minutes made of this revision of the medium."""
        async with self._statement("jobs.enqueue_transcoding") as session:
            job = QueuedJob(media.id, media.revision, media.owner, urgency)
            session.enqueue(dataclasses.replace(job, queue=Queue.TRANSCODING))

    async def discard(self, media_id: MediaId, *, running: bool = True) -> None:
        """Remove every job for this medium; none runs here."""
        async with self._statement("jobs.discard") as session:
            session.discarded.add(media_id)
            session.jobs = [job for job in session.jobs if job.media_id != media_id]

    async def forgotten(
        self, before: datetime, *, after: MediaId | None = None, limit: int
    ) -> list[Media]:
        """Media that wait for a job that does not exist, in the order of their ids."""
        async with self._statement("jobs.forgotten") as session:
            queued = {job.media_id for job in (*session.queued, *session.jobs)}
            rows = sorted((m for m in session.media.rows() if not m.deleted_at), key=_id_of)
            return [
                media
                for media in rows
                if (not after or media.id > after)
                and (
                    (
                        media.status in _UNFINISHED
                        and media.updated_at < before
                        and media.id not in queued
                    )
                    or (media.failure_code == "media_damaged" and not _is_damaged(session, media))
                )
            ][:limit]


def _is_damaged(session: _Session, media: Media) -> bool:
    blob = session.blobs.get(media.sha256)
    return blob is not None and blob.damaged_at is not None


class InMemoryQueue:
    """Keeps `core.job_ports.JobQueue`; nothing is ever tried here, so nothing is parked."""

    def __init__(self, database: InMemoryDatabase) -> None:
        self._database = database
        self.counted = 0

    async def count_waiting(self, *, at_most: int) -> int:
        """How many jobs wait; none are counted beyond `at_most`."""
        self.counted += 1
        return min(at_most, len(self._of(JobFilter(state=JobState.WAITING))))

    async def count_waiting_of(self, owner: UserId, *, at_most: int) -> int:
        """How many jobs of this owner wait to be tried for the first time."""
        which = JobFilter(state=JobState.WAITING, owner=owner)
        return min(at_most, len(self._of(which)))

    async def find(self, which: JobFilter, *, limit: int) -> list[Job]:
        """These jobs, in the order in which they came."""
        return self._of(which)[:limit]

    async def counts(self) -> dict[Queue, JobCounts]:
        """How full each queue is."""
        jobs = self._database.jobs
        return {queue: _counts([job for job in jobs if job.queue is queue]) for queue in Queue}

    async def forget_failed(self, *, older_than: timedelta) -> int:
        """Remove jobs that were given up, however old they are."""
        failed = [job for job in self._database.jobs if job.state is JobState.FAILED]
        self._database.jobs[:] = [job for job in self._database.jobs if job not in failed]
        return len(failed)

    def _of(self, which: JobFilter) -> list[Job]:
        if self._database.is_away:
            raise DatabaseUnavailable
        return [
            Job(
                id=job.id,
                queue=job.queue,
                media_id=job.media_id,
                revision=job.revision,
                owner=job.owner,
                state=job.state,
                urgency=job.urgency,
                attempts=0,
            )
            for job in self._database.jobs
            if which.ids is None or job.id in which.ids
            if which.state in (None, job.state)
            if which.owner in (None, job.owner)
        ]


def _counts(jobs: Sequence[QueuedJob]) -> JobCounts:
    states = collections.Counter((job.state, job.urgency) for job in jobs)
    return JobCounts(
        waiting_for_a_person=states[JobState.WAITING, Urgency.PERSON],
        waiting_backfill=states[JobState.WAITING, Urgency.BACKFILL],
        failed=sum(count for (state, _), count in states.items() if state is JobState.FAILED),
    )


class InMemoryProcesses:
    """Keeps `core.job_ports.Processes`, for one process: every duty is due."""

    def __init__(self) -> None:
        self._turns: collections.Counter[str] = collections.Counter()

    async def end_stalled(self, *, silent_for: timedelta) -> int:
        """There are none."""
        return 0

    @asynccontextmanager
    async def turn(self, duty: str, *, every: timedelta) -> AsyncIterator[int | None]:
        """How often the duty was done before."""
        self._turns[duty] += 1
        yield self._turns[duty] - 1
