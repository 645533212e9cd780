"""Attempts at a call: repeated with growing, random pauses while it is safe and there is time."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from media_client._context import current_request_id
from media_client._transport import Call
from media_client.errors import DeadlineExceeded, Limited, Unavailable

T = TypeVar("T")
_MOST_DOUBLINGS = 30


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often a call that is safe to repeat is tried, and how long the pauses may be.

    The pause before attempt n is random up to `first_pause * 2**(n-2)`, never above
    `longest_pause`, and comes on top of what the service asks for. None goes beyond the call's
    timeout. Only `Unavailable` and `Limited` are tried again.

    >>> async with MediaClient("localhost:50051", retries=Retries(attempts=1)) as patient:
    ...     pass  # tries everything once
    """

    attempts: int = 4
    first_pause: float = 0.1
    longest_pause: float = 2.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_pause < 0 or self.longest_pause < 0:
            raise ValueError("attempts must be at least 1, and pauses not negative")

    def pause(self, *, failed: int, asked: float | None, chance: float) -> float:
        """Seconds to wait after so many failed attempts; `chance` is 0 to 1."""
        doubled = self.first_pause * 2.0 ** min(failed - 1, _MOST_DOUBLINGS)
        return (asked or 0.0) + chance * min(doubled, self.longest_pause)


ONCE = Retries(attempts=1)


async def attempting(
    once: Callable[[Call], Awaitable[T]], *, seconds: float, retries: Retries
) -> T:
    """What `once` answers, repeated as `retries` says. All attempts share these seconds.

    Raises DeadlineExceeded, and what the last attempt raised.
    """
    call = Call(current_request_id(), asyncio.get_running_loop().time() + seconds)
    limit = asyncio.timeout_at(call.deadline)
    try:
        async with limit:
            return await _repeated(once, call, retries)
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceeded(request_id=call.request_id) from None
        raise


async def _repeated(once: Callable[[Call], Awaitable[T]], call: Call, retries: Retries) -> T:
    failed = 0
    while True:
        try:
            return await once(call)
        except (Limited, Unavailable) as error:
            failed += 1
            pause = retries.pause(failed=failed, asked=error.retry_after, chance=random.random())
            if failed >= retries.attempts or pause >= call.remaining_seconds():
                raise
        await asyncio.sleep(pause)
