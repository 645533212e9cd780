"""Places for uploads: so many at once, and nobody keeps what others want for as long as they like.

Each upload waits on disk while it comes, so there are few places, and who sends slowly would hold
one for hours. As long as one is free, nobody minds. When all are taken and somebody comes:

- Who has two places more than the newcomer gives one up, however fast they send. So persons get
  equal shares, and no place goes back and forth.
- Who sends more slowly than `wanted_bytes_per_second`, after GRACE_SECONDS, gives way to whoever
  has no place at all.

Nobody gives way whose body is here, when only we are slow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from user_service.errors import Busy, TooManyUploads
from user_service.http_api.bodies import Arrival, Pace
from user_service.records import UserId

GRACE_SECONDS = 10.0


class Places:
    """So many uploads of one kind at once."""

    def __init__(self, at_once: int, *, of_one: int, pace: Pace) -> None:
        self._at_once = at_once
        self._of_one = of_one
        self._pace = pace
        self._taken: dict[Arrival, UserId] = {}

    def check(self, user: UserId) -> None:
        """Whether there would be a place. Raises TooManyUploads, Busy."""
        self._who_goes_for(user)

    @contextmanager
    def taken(self, user: UserId) -> Iterator[Arrival]:
        """A place, perhaps somebody else's, as long as this lasts. Raises TooManyUploads, Busy."""
        goes = self._who_goes_for(user)
        if goes is not None:
            del self._taken[goes]
            goes.make_way()
        arrival = Arrival(self._pace)
        self._taken[arrival] = user
        try:
            yield arrival
        finally:
            self._taken.pop(arrival, None)

    def _who_goes_for(self, newcomer: UserId) -> Arrival | None:
        """Nobody, if there is room; else the slowest of whoever has most, of those that may go."""
        counts = Counter(self._taken.values())
        own = counts[newcomer]
        if own >= self._of_one:
            raise TooManyUploads
        if len(self._taken) < self._at_once:
            return None
        going = [
            (-counts[user], arrival.bytes_per_second, arrival)
            for arrival, user in self._taken.items()
            if self._may_go(arrival, counts[user], own)
        ]
        if not going:
            raise Busy
        return min(going, key=lambda each: each[:2])[-1]

    def _may_go(self, arrival: Arrival, count: int, newcomers: int) -> bool:
        if arrival.is_whole:
            return False
        if count > newcomers + 1:
            return True
        is_slow = arrival.bytes_per_second < self._pace.wanted_bytes_per_second
        return is_slow and arrival.waited >= GRACE_SECONDS and not newcomers
