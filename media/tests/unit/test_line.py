"""The line between a process and its supervisor."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from media_service.processes.line import Answer, Line, LineBroken, open_line


async def louder(question: bytes) -> bytes:
    return question.upper()


@asynccontextmanager
async def both_ends(*, here: Answer = louder, there: Answer = louder) -> AsyncIterator[list[Line]]:
    one, other = socket.socketpair()
    async with open_line(one, answer=here) as ours, open_line(other, answer=there) as theirs:
        yield [ours, theirs]


async def test_both_sides_may_ask_at_once() -> None:
    async with both_ends() as (ours, theirs):
        answers = await asyncio.gather(
            *(line.ask(b"hello", within_seconds=5) for line in (ours, theirs, ours, theirs))
        )

    assert answers == [b"HELLO"] * 4


async def test_a_question_is_answered_by_asking_back() -> None:
    """As a supervisor does when a process wants the totals."""
    lines: list[Line] = []

    async def ask_back(question: bytes) -> bytes:
        return await lines[1].ask(question, within_seconds=5) + b"!"

    async with both_ends(there=ask_back) as both:
        lines += both
        assert await both[0].ask(b"total", within_seconds=5) == b"TOTAL!"


async def test_long_answers_arrive_whole() -> None:
    async def much(_question: bytes) -> bytes:
        return bytes(3_000_000)

    async with both_ends(there=much) as (ours, _):
        assert len(await ours.ask(b"", within_seconds=10)) == 3_000_000


async def test_a_late_answer_is_not_taken_for_the_next_one() -> None:
    late = asyncio.Event()

    async def slow(question: bytes) -> bytes:
        if question == b"first":
            await late.wait()
        return question

    async with both_ends(there=slow) as (ours, _):
        with pytest.raises(LineBroken):
            await ours.ask(b"first", within_seconds=0.01)
        with pytest.raises(LineBroken):
            await ours.ask(b"second", within_seconds=5)
        late.set()
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await ours.ask(b"third", within_seconds=5) == b"third"
                    break
                except LineBroken:
                    await asyncio.sleep(0.01)


async def test_who_asks_learns_that_the_other_side_is_gone() -> None:
    asked = asyncio.Event()

    async def never(_question: bytes) -> bytes:
        asked.set()
        await asyncio.sleep(3600)
        return b""

    one, other = socket.socketpair()
    async with open_line(one, answer=louder) as ours:
        async with open_line(other, answer=never):
            asking = asyncio.create_task(ours.ask(b"", within_seconds=60))
            await asked.wait()
        with pytest.raises(LineBroken):
            await asking


async def test_news_are_heard() -> None:
    heard = asyncio.Event()
    one, other = socket.socketpair()
    async with (
        open_line(one, answer=louder, on_news=heard.set),
        open_line(other, answer=louder) as theirs,
    ):
        theirs.tell()
        async with asyncio.timeout(5):
            await heard.wait()
