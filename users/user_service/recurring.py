"""Work that comes round again for as long as the service runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import structlog

from user_service.errors import UserError

log = structlog.get_logger()


@asynccontextmanager
async def recurring(
    name: str, work: Callable[[], Awaitable[object]], *, every_seconds: float
) -> AsyncIterator[None]:
    """Do it now, and again and again as long as this lasts. What fails waits for the next round."""
    task = asyncio.create_task(_again_and_again(name, work, every_seconds))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _again_and_again(
    name: str, work: Callable[[], Awaitable[object]], every_seconds: float
) -> None:
    put_off, bug = f"{name}.put_off", f"{name}.bug"
    while True:
        try:
            await work()
        except UserError as error:
            log.info(put_off, code=error.code)
        except Exception:  # the next round must come
            log.exception(bug)
        await asyncio.sleep(every_seconds)
