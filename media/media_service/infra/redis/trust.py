"""How far Redis may be believed: decided here, from what went wrong, without any I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from media_service.core.media import MediaId

MAX_OWED = 1000
"""How many ids are remembered that Redis could not be told to forget; above, all are."""

_FAILURES_IN_A_ROW = 3
_SUSPICION_SECONDS = 1.0


class Trust:
    """Counts failures and remembers what Redis was not told."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._believed_from = 0.0
        self._owed: dict[MediaId, int] = {}
        self._events = 0
        self._renewal_asked = 0
        self._renewal_done = 0
        self.has_work = asyncio.Event()
        """Set while Redis is away, or has to be told something."""

    @property
    def is_away(self) -> bool:
        """Whether it failed so often that it is not to be asked."""
        return self._failures >= _FAILURES_IN_A_ROW

    @property
    def wants_renewal(self) -> bool:
        """Whether nothing it holds may be believed."""
        return self._renewal_asked != self._renewal_done

    @property
    def may_write(self) -> bool:
        """Whether it makes sense to tell it anything."""
        return not (self.is_away or self.wants_renewal)

    @property
    def may_read(self) -> bool:
        """Whether what it says may be believed, but for ids that are owed.

        For a second after it was away it may not: other processes have yet to tell it what
        they could not before.
        """
        return self.may_write and self._clock() >= self._believed_from

    def owes(self, media_id: MediaId) -> bool:
        """Whether it still has to be told to forget this id."""
        return media_id in self._owed

    @property
    def owed(self) -> Mapping[MediaId, int]:
        """What it has to be told to forget, each with the number to pay it by."""
        return dict(self._owed)

    @property
    def renewal(self) -> int:
        """The number of the renewal that is wanted, to finish it by."""
        return self._renewal_asked

    def failed(self) -> bool:
        """Note that it did not answer; whether this made it go away."""
        self._failures += 1
        if self.is_away:
            self.has_work.set()
        return self._failures == _FAILURES_IN_A_ROW

    def answered(self) -> bool:
        """Note that it answered; whether it was away before."""
        was_away, self._failures = self.is_away, 0
        if was_away:
            self._believed_from = self._clock() + _SUSPICION_SECONDS
        self._rest()
        return was_away

    def owe(self, ids: Iterable[MediaId]) -> None:
        """Remember what it was not told to forget, or may remember against our will."""
        self._owed |= dict.fromkeys(ids, self._next())
        if self.wants_renewal or len(self._owed) > MAX_OWED:
            self.ask_renewal()
        self.has_work.set()

    def paid(self, owed: Mapping[MediaId, int]) -> None:
        """Note that these were told, unless they are owed anew by now."""
        self._owed = {i: n for i, n in self._owed.items() if owed.get(i) != n}
        self._rest()

    def ask_renewal(self) -> None:
        """Believe nothing until everything has been abandoned, after this moment."""
        self._owed.clear()
        self._renewal_asked = self._next()
        self.has_work.set()

    def renewed(self, renewal: int) -> None:
        """Note that everything written before was abandoned."""
        self._renewal_done = renewal
        self._rest()

    def _next(self) -> int:
        self._events += 1
        return self._events

    def _rest(self) -> None:
        if not (self.is_away or self._owed or self.wants_renewal):
            self.has_work.clear()
