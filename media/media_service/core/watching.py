"""Watching: who waits for a medium is told of each of its changes, however many wait.

One reader for the whole process reads the rows that changed, each once for all who watch it. It
hears of changes as they are committed; should it miss any, it looks at all that is watched when
it hears again, and every few seconds anyway.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final

from media_service.core.errors import (
    DatabaseUnavailable,
    MediaNotFound,
    ServiceStopping,
    TooManyWatchers,
)
from media_service.core.media import Media, MediaId, ProcessingStatus
from media_service.core.ports import Changes, Clock, Database
from media_service.core.reading import Reading

_BATCH: Final = 500
_GATHER_SECONDS: Final = 0.05
"""What changes within this time is read together."""
_RETRY_SECONDS: Final = 0.5

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WatchingLimits:
    """How many may watch at once, how long each is left alone, how often all is looked at."""

    at_once: int = 10_000
    pause_seconds: float = 0.25
    look_seconds: float = 5.0


WATCHING_LIMITS = WatchingLimits()


class Watching:
    """Tells watchers of one process of changes made in any."""

    def __init__(
        self,
        *,
        database: Database,
        reading: Reading,
        changes: Changes,
        clock: Clock,
        limits: WatchingLimits = WATCHING_LIMITS,
    ) -> None:
        self._database = database
        self._reading = reading
        self._changes = changes
        self._clock = clock
        self._limits = limits
        self._watched: dict[MediaId, _Watched] = {}
        self._changed: set[MediaId] = set()
        self._is_due = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._count = 0

    @property
    def count(self) -> int:
        """How many are watching."""
        return self._count

    async def watch(self, media_id: MediaId) -> AsyncGenerator[Media, None]:
        """The medium as it is now, and again as often as it changed, until its work is over.

        What changes faster than the pause is told once, as it is then. Raises MediaNotFound when
        there is none or no longer; to who has waited for its work, it was told as CANCELLED
        before. Raises TooManyWatchers, ServiceStopping; DatabaseUnavailable only before anything
        was told.
        """
        with self._joined(media_id) as watched:
            reads = watched.reads
            media = await self._reading.get(media_id)
            while True:
                yield media
                if media.status is ProcessingStatus.CANCELLED:
                    raise MediaNotFound
                if not media.is_unfinished:
                    return
                await asyncio.sleep(self._limits.pause_seconds)
                reads, media = await self._other(watched, than=media, reads=reads)

    def stop(self) -> None:
        """End all watching, now and later: whoever watches is to ask another instance."""
        self._is_stopping = True
        for watched in self._watched.values():
            watched.wake()

    async def _other(self, watched: _Watched, *, than: Media, reads: int) -> tuple[int, Media]:
        """What was read of it that has not been told yet."""
        while True:
            if self._is_stopping:
                raise ServiceStopping
            if watched.reads > reads:
                reads, media = watched.reads, watched.media
                if media is None:
                    raise MediaNotFound
                # What was read before the work began anew would end the watching too early.
                if media != than and media.revision >= than.revision:
                    return reads, media
            await watched.woken()

    @contextmanager
    def _joined(self, media_id: MediaId) -> Iterator[_Watched]:
        if self._is_stopping:
            raise ServiceStopping
        if self._count >= self._limits.at_once:
            raise TooManyWatchers
        watched = self._watched.setdefault(media_id, _Watched())
        watched.watchers += 1
        self._count += 1
        self._note(media_id)
        if self._reader is None:
            # Not in the context of the call that happens to be the first.
            self._reader = asyncio.create_task(self._read_for_ever(), context=contextvars.Context())
        try:
            yield watched
        finally:
            self._leave(media_id, watched)

    def _leave(self, media_id: MediaId, watched: _Watched) -> None:
        watched.watchers -= 1
        self._count -= 1
        if not watched.watchers:
            del self._watched[media_id]
            self._changed.discard(media_id)
        if not self._watched and self._reader:
            self._reader.cancel()
            self._reader = None

    def _note(self, media_id: MediaId) -> None:
        if media_id in self._watched:
            self._changed.add(media_id)
            self._is_due.set()

    def _note_gap(self, is_gap: bool) -> None:
        if not is_gap:
            self._note_all()

    def _note_all(self) -> None:
        self._changed.update(self._watched)
        self._is_due.set()

    async def _read_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        with self._changes.follow(on_change=self._note, on_gap=self._note_gap):
            look_at = loop.time() + self._limits.look_seconds
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(look_at):
                        await self._is_due.wait()
                if loop.time() >= look_at:
                    look_at = loop.time() + self._limits.look_seconds
                    self._note_all()
                await self._read_changed()
                await asyncio.sleep(_GATHER_SECONDS)

    async def _read_changed(self) -> None:
        changed, self._changed = self._changed, set()
        self._is_due.clear()
        try:
            ids = list(changed)
            for start in range(0, len(ids), _BATCH):
                await self._read(ids[start : start + _BATCH])
        except DatabaseUnavailable as error:
            logger.warning("watched media were not read: %r", error.__cause__)
            self._changed |= changed & self._watched.keys()
            await asyncio.sleep(_RETRY_SECONDS)
            self._is_due.set()

    async def _read(self, ids: list[MediaId]) -> None:
        try:
            found, now = await self._database.latest.media.find(ids), self._clock()
        except DatabaseUnavailable:
            raise
        except Exception:
            logger.exception("watched media could not be read")
            # One row that can't be understood must not keep the others from being told.
            for media_id in ids if len(ids) > 1 else ():
                await self._read([media_id])
            return
        for media_id in ids:
            if watched := self._watched.get(media_id):
                watched.tell(_last_told(found.get(media_id), now))


def _last_told(media: Media | None, now: datetime) -> Media | None:
    """What there is to tell of it: of what is gone, only that its work was cancelled."""
    if media and media.is_gone(now) and media.status is not ProcessingStatus.CANCELLED:
        return None
    return media


class _Watched:
    """One medium that is watched: what was last read of it; None if it is gone."""

    def __init__(self) -> None:
        self.watchers = 0
        self.reads = 0
        self.media: Media | None = None
        self._waking = asyncio.Event()

    def tell(self, media: Media | None) -> None:
        self.media = media
        self.reads += 1
        self.wake()

    def wake(self) -> None:
        self._waking.set()
        self._waking = asyncio.Event()

    async def woken(self) -> None:
        await self._waking.wait()
