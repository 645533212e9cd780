"""What comes round again, and when it ends."""

from __future__ import annotations

import asyncio

from user_service.errors import DatabaseUnavailable
from user_service.recurring import recurring


async def test_the_next_round_comes_whatever_went_wrong_and_none_after_the_end() -> None:
    rounds: list[int] = []
    enough = asyncio.Event()

    async def work() -> None:
        rounds.append(len(rounds))
        if len(rounds) == 1:
            raise DatabaseUnavailable
        if len(rounds) == 2:
            raise RuntimeError("a bug")
        enough.set()

    async with recurring("tests", work, every_seconds=0), asyncio.timeout(20):
        await enough.wait()
    done = len(rounds)
    await asyncio.sleep(0)

    assert len(rounds) == done >= 3
