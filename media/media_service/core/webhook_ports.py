"""What telling receivers needs from outside, as promises. `infra` keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from media_service.core.webhooks import Delivery, DeliveryCounts, Reply


class Outbox(Protocol):
    """Deliveries, from the commit of the change they tell of. Raises DatabaseUnavailable."""

    async def take(self, url: str, *, limit: int, lease: timedelta) -> list[Delivery]:
        """What is due for this receiver, the longest due first; nobody else gets it meanwhile.

        Of each medium only the earliest, so that they arrive in order. What is not removed,
        postponed or given up within the lease can be taken again.
        """

    async def remove(self, delivery: Delivery) -> None:
        """It was delivered."""

    async def postpone(self, delivery: Delivery, *, pause: timedelta, failure: str) -> None:
        """Try it again, and then all that comes after it for the same receiver and medium."""

    async def give_up(self, delivery: Delivery, *, failure: str) -> None:
        """Never try it again by itself."""

    async def find(self, *, failed_only: bool, limit: int) -> list[Delivery]:
        """Deliveries, in the order in which they came."""

    async def retry(self, ids: Sequence[str] | None) -> int:
        """Begin these again, or all that were given up; how many there were."""

    async def counts(self) -> DeliveryCounts:
        """How full it is."""

    async def forget(self, *, failed_for: timedelta, older_than: timedelta) -> int:
        """Remove what was given up for so long, or is so old; how many that were."""


class Receivers(Protocol):
    """Who is told."""

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send it; follows no redirect, waits 10 seconds at most, never raises."""
