"""Notifying: receivers of webhooks are told of what became of media, at least once each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from media_service.core.ports import Clock
from media_service.core.webhook_ports import Outbox, Receivers
from media_service.core.webhooks import (
    KEPT,
    TRIED_FOR,
    Delivery,
    DeliveryCounts,
    Outcome,
    next_pause,
    signed_headers,
)

LEASE: Final = timedelta(seconds=20)
"""Longer than a receiver may take: only what a process left behind is taken by another."""


class Notifying:
    """Delivers what is in the outbox. `urls` are the receivers of now; others' are left alone."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        receivers: Receivers,
        urls: Sequence[str] = (),
        secrets: Sequence[bytes] = (),
        clock: Clock,
        lease: timedelta = LEASE,
    ) -> None:
        self._outbox = outbox
        self._receivers = receivers
        self._secrets = secrets
        self._clock = clock
        self._lease = lease
        self.urls = tuple(urls)

    async def take(self, url: str, *, limit: int) -> list[Delivery]:
        """What is to be delivered to this receiver now. Raises DatabaseUnavailable."""
        return await self._outbox.take(url, limit=limit, lease=self._lease)

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Try once, and note how it went. Raises DatabaseUnavailable: then it is tried again."""
        headers = signed_headers(delivery, secrets=self._secrets, now=self._clock())
        reply = await self._receivers.post(delivery.url, body=delivery.body, headers=headers)
        if reply.is_taken:
            await self._outbox.remove(delivery)
            return Outcome.DELIVERED
        pause = next_pause(delivery.attempts, age=delivery.age, luck=random.random())
        if pause is None or reply.is_unwanted:
            await self._outbox.give_up(delivery, failure=str(reply))
            return Outcome.FAILED
        await self._outbox.postpone(delivery, pause=pause, failure=str(reply))
        return Outcome.RETRIED

    async def find(self, *, failed_only: bool, limit: int) -> list[Delivery]:
        """What waits or was given up, in the order in which it came."""
        return await self._outbox.find(failed_only=failed_only, limit=limit)

    async def retry(self, ids: Sequence[str]) -> int:
        """Begin the deliveries of these events again; how many that were."""
        return await self._outbox.retry(ids)

    async def retry_all_failed(self) -> int:
        """Begin everything again that was given up; how many deliveries that were."""
        return await self._outbox.retry(None)

    async def counts(self) -> DeliveryCounts:
        """How full the outbox is."""
        return await self._outbox.counts()

    async def forget(self) -> int:
        """Remove what was given up long ago, or whose receiver is no more; how many that were."""
        return await self._outbox.forget(failed_for=KEPT, older_than=TRIED_FOR + KEPT)
