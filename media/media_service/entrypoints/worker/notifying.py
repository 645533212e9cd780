"""Tells receivers of webhooks: a line for each, so that none waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from prometheus_client import Counter, Gauge

from media_service.core.errors import MediaError
from media_service.core.notifying import Notifying
from media_service.core.ports import Changes
from media_service.core.webhooks import Delivery, Outcome, receiver_name

AT_ONCE = 16
"""Deliveries under way to one receiver."""
_LOOK_SECONDS = 1.0
_GATHER_SECONDS = 0.02
_MEASURE_SECONDS = 15.0
_DRAIN_SECONDS = 3.0

_DELIVERIES = Counter(
    "mediad_webhook_deliveries_total", "Attempts to tell a receiver", ["receiver", "outcome"]
)
_WAITING = Gauge(
    "mediad_webhooks_waiting", "What receivers are yet to be told", multiprocess_mode="max"
)
_OLDEST = Gauge(
    "mediad_webhooks_oldest_waiting_seconds",
    "How long ago the oldest came that a receiver is yet to be told",
    multiprocess_mode="max",
)
_FAILED = Gauge(
    "mediad_webhooks_failed", "What receivers were not told, and was given up",
    multiprocess_mode="max",
)  # fmt: skip
log = structlog.get_logger()


@asynccontextmanager
async def notify(notifying: Notifying, changes: Changes) -> AsyncIterator[None]:
    """Deliver while the context lasts; on leaving, what is under way has a moment to end."""
    lines = [_Line(notifying, url) for url in notifying.urls]
    tasks = [asyncio.create_task(line.deliver_for_ever()) for line in lines]
    if lines:
        tasks.append(asyncio.create_task(_measure_for_ever(notifying)))

    def wake(_: object) -> None:
        for line in lines:
            line.wake()

    try:
        with changes.follow(on_change=wake, on_gap=wake):
            yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


class _Line:
    """What is delivered to one receiver."""

    def __init__(self, notifying: Notifying, url: str) -> None:
        self._notifying = notifying
        self._url = url
        self._sending: set[asyncio.Task[None]] = set()
        self._waking = asyncio.Event()

    def wake(self) -> None:
        """Look again: something may be due."""
        self._waking.set()

    async def deliver_for_ever(self) -> None:
        try:
            while True:
                self._waking.clear()
                are_more_due = await self._begin()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._waking.wait()
                if not are_more_due:
                    await asyncio.sleep(_GATHER_SECONDS)
        finally:
            await self._drain()

    async def _begin(self) -> bool:
        """Begin as many deliveries as there is room for; whether more of them seem to be due."""
        if not (room := AT_ONCE - len(self._sending)):
            return True
        try:
            taken = await self._notifying.take(self._url, limit=room)
        except MediaError as error:
            log.warning("webhooks.not_read", code=error.code, cause=repr(error.__cause__))
            return False
        except Exception:
            log.exception("webhooks.bug")
            return False
        for delivery in taken:
            task = asyncio.create_task(self._deliver(delivery))
            self._sending.add(task)
            task.add_done_callback(self._ended)
        return len(taken) == room

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._waking.set()

    async def _deliver(self, delivery: Delivery) -> None:
        receiver = receiver_name(delivery.url)
        try:
            outcome = await self._notifying.deliver(delivery)
        except MediaError as error:  # it is tried again when its lease is over
            log.warning("webhook.not_noted", id=delivery.id, cause=repr(error.__cause__))
            return
        except Exception:
            log.exception("webhook.bug", id=delivery.id)
            return
        _DELIVERIES.labels(receiver, outcome.value).inc()
        if outcome is not Outcome.DELIVERED:
            log.warning(
                "webhook.not_delivered",
                id=delivery.id,
                type=delivery.type,
                media_id=delivery.media_id,
                receiver=receiver,
                attempts=delivery.attempts,
                is_given_up=outcome is Outcome.FAILED,
            )

    async def _drain(self) -> None:
        if sending := set(self._sending):
            _, late = await asyncio.wait(sending, timeout=_DRAIN_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


async def _measure_for_ever(notifying: Notifying) -> None:
    while True:
        try:
            counts = await notifying.counts()
        except MediaError as error:
            log.warning("webhooks.not_measured", code=error.code, cause=repr(error.__cause__))
        else:
            _WAITING.set(counts.waiting)
            _OLDEST.set(counts.oldest_waiting_seconds)
            _FAILED.set(counts.failed)
        await asyncio.sleep(_MEASURE_SECONDS)
