"""A cache in a dictionary, without a lifetime."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from media_service.core.media import Media, MediaId


class InMemoryCache:
    """Keeps `core.ports.Cache`; its time is a counter. `is_away`: misses everything."""

    def __init__(self) -> None:
        self.remembered: dict[MediaId, Media | None] = {}
        self.is_away = False
        self._ticks = itertools.count(1)
        self._dropped: dict[MediaId, int] = {}

    async def get(self, ids: Sequence[MediaId]) -> dict[MediaId, Media | None]:
        """What is remembered."""
        if self.is_away:
            return {}
        return {i: self.remembered[i] for i in ids if i in self.remembered}

    def begin(self) -> float:
        """A moment after every drop so far."""
        return next(self._ticks)

    async def fill(self, found: Mapping[MediaId, Media | None], *, begun: float) -> None:
        """Remember, except what was dropped since `begun`."""
        for media_id, media in found.items():
            if not self.is_away and self._dropped.get(media_id, 0) < begun:
                self.remembered[media_id] = media

    async def drop(self, ids: Iterable[MediaId]) -> None:
        """Forget."""
        for media_id in ids:
            self._dropped[media_id] = next(self._ticks)
            self.remembered.pop(media_id, None)
