"""Opens receivers; only who has any pays for the import of an HTTP client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from media_service.core.webhook_ports import Receivers
from media_service.core.webhooks import Reply


@asynccontextmanager
async def open_receivers(urls: Sequence[str]) -> AsyncIterator[Receivers]:
    """Who is told by webhooks, while the context lasts; nobody without URLs."""
    if not urls:
        yield Nobody()
        return
    from media_service.infra.webhooks.receivers import open_http_receivers

    async with open_http_receivers() as receivers:
        yield receivers


class Nobody:
    """Keeps `core.webhook_ports.Receivers` where there are none."""

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Reply:  # noqa: ARG002
        """Is never asked."""
        return Reply(0, "no receivers are set")
