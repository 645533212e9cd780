"""Stops asking a store that does not answer, and finds out when it does again."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Gauge

OPEN = Gauge("mediad_s3_breaker_open", "1 while S3 is not asked because it did not answer")

FAILURES_IN_A_ROW = 8
REST_SECONDS = 5.0


class Breaker:
    """Closed: every call goes through. Open: none does, but one every few seconds, to try."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        failures_in_a_row: int = FAILURES_IN_A_ROW,
        rest_seconds: float = REST_SECONDS,
    ) -> None:
        self._clock = clock
        self._limit = failures_in_a_row
        self._rest_seconds = rest_seconds
        self._failures = 0
        self._next_try = 0.0

    @property
    def is_open(self) -> bool:
        """Whether too many calls in a row have failed."""
        return self._failures >= self._limit

    def admits(self) -> bool:
        """Whether a call may go through now. If it does while open, it is the one that tries."""
        if not self.is_open:
            return True
        if self._clock() < self._next_try:
            return False
        self._next_try = self._clock() + self._rest_seconds
        return True

    def answered(self) -> bool:
        """Note that a call was answered, if only with a refusal; whether that closed it."""
        was_open, self._failures = self.is_open, 0
        OPEN.set(0)
        return was_open

    def failed(self) -> bool:
        """Note that a call was not answered; whether that opened it."""
        self._failures += 1
        self._next_try = self._clock() + self._rest_seconds
        OPEN.set(self.is_open)
        return self._failures == self._limit
