"""Waiting for what becomes so by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(
    holds: Callable[[], bool | Awaitable[bool]], *, within_seconds: float = 60
) -> None:
    """Return as soon as it holds. Raises TimeoutError."""
    async with asyncio.timeout(within_seconds):
        while True:
            held = holds()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.001)
