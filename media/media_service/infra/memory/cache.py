"""The cache of a process that shares it with no other."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from media_service.core.media import Media, MediaId

FOUND_SECONDS = 3600.0
MISSING_SECONDS = 5.0
_MAX_ENTRIES = 50_000
_MAX_DROPS = 10_000


class Tally(Protocol):
    """Counts: a child of a Prometheus counter is one."""

    def inc(self, amount: float = 1) -> None:
        """Add to it."""


class _Uncounted:
    def inc(self, amount: float = 1) -> None:
        """Add to nothing."""


class InProcessCache:
    """Remembers the media used last; what was dropped since a fill began, it doesn't take."""

    def __init__(
        self,
        *,
        max_entries: int = _MAX_ENTRIES,
        clock: Callable[[], float] = time.monotonic,
        hits: Tally | None = None,
        misses: Tally | None = None,
    ) -> None:
        self._max_entries = max_entries
        self._clock = clock
        self._hits = hits or _Uncounted()
        self._misses = misses or _Uncounted()
        self._entries: OrderedDict[MediaId, tuple[float, Media | None]] = OrderedDict()
        self._drops = _Drops()
        self._is_paused = False

    async def get(self, ids: Sequence[MediaId]) -> dict[MediaId, Media | None]:
        """What is remembered; None for an id that is known not to be there."""
        now = self._clock()
        found: dict[MediaId, Media | None] = {}
        for media_id in ids:
            entry = self._entries.get(media_id)
            if entry is None:
                continue
            if entry[0] <= now:
                del self._entries[media_id]
                continue
            self._entries.move_to_end(media_id)
            found[media_id] = entry[1]
        if found:
            self._hits.inc(len(found))
        if len(found) < len(ids):
            self._misses.inc(len(ids) - len(found))
        return found

    def begin(self) -> float:
        """To be called before reading what will be filled in."""
        return self._drops.count

    async def fill(self, found: Mapping[MediaId, Media | None], *, begun: float) -> None:
        """Remember what was read since `begun`."""
        if self._is_paused:
            return
        now = self._clock()
        for media_id, media in found.items():
            if not self._drops.any_since(begun, media_id):
                until = now + (MISSING_SECONDS if media is None else FOUND_SECONDS)
                self._entries[media_id] = (until, media)
                self._entries.move_to_end(media_id)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    async def drop(self, ids: Iterable[MediaId]) -> None:
        """Forget."""
        for media_id in ids:
            self.forget(media_id)

    def forget(self, media_id: MediaId) -> None:
        """Forget one medium: another process changed it."""
        self._entries.pop(media_id, None)
        self._drops.note(media_id)

    def pause(self, is_paused: bool) -> None:
        """Forget everything and take nothing in while changes of other processes are missed."""
        self._is_paused = is_paused
        for media_id in list(self._entries):
            self.forget(media_id)


class _Drops:
    """Which ids were dropped lately. Drops are counted, not timed, so that none is a tie."""

    def __init__(self) -> None:
        self.count = 0
        self._last: OrderedDict[MediaId, int] = OrderedDict()
        self._forgotten = 0

    def note(self, media_id: MediaId) -> None:
        self.count += 1
        self._last[media_id] = self.count
        self._last.move_to_end(media_id)
        if len(self._last) > _MAX_DROPS:
            _, self._forgotten = self._last.popitem(last=False)

    def any_since(self, count: float, media_id: MediaId) -> bool:
        """Whether the id was dropped after this many drops; if that is not known, yes."""
        return count < self._last.get(media_id, 0) or count < self._forgotten
