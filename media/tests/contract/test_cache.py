"""What every `Cache` promises, whatever it is made of; and what the one in the process adds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from fakes.in_memory_cache import InMemoryCache
from fakes.patience import eventually
from fakes.redis_servers import open_redis
from fakes.samples import a_media
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media_service.core.media import Media, MediaId, new_media_id
from media_service.core.ports import Cache
from media_service.infra.memory.cache import FOUND_SECONDS, MISSING_SECONDS, InProcessCache
from media_service.infra.redis.cache import open_redis_cache


@asynccontextmanager
async def in_memory(_: str) -> AsyncIterator[Cache]:
    yield InMemoryCache()


@asynccontextmanager
async def in_process(_: str) -> AsyncIterator[Cache]:
    yield InProcessCache()


@asynccontextmanager
async def in_redis(url: str) -> AsyncIterator[Cache]:
    async with open_redis(url) as redis:
        await redis.flushall()
    # Patient, because a busy machine must not look like a slow Redis here.
    async with open_redis_cache(url, timeout_seconds=2) as cache:
        probe = a_media()

        async def is_ready() -> bool:
            await cache.fill({probe.id: probe}, begun=cache.begin())
            return probe.id in await cache.get([probe.id])

        await eventually(is_ready)
        yield cache


KINDS: dict[str, Callable[[str], AbstractAsyncContextManager[Cache]]] = {
    "memory": in_memory,
    "process": in_process,
    "redis": in_redis,
}


@pytest.fixture(params=["memory", "process", pytest.param("redis", marks=pytest.mark.needs_redis)])
async def cache(request: pytest.FixtureRequest, valkey_url: str) -> AsyncIterator[Cache]:
    async with KINDS[request.param](valkey_url) as opened:
        yield opened


async def fill(cache: Cache, *media: Media) -> None:
    await cache.fill({each.id: each for each in media}, begun=cache.begin())


async def test_what_was_filled_is_remembered(cache: Cache) -> None:
    here, gone = a_media(), new_media_id()

    await cache.fill({here.id: here, gone: None}, begun=cache.begin())

    assert await cache.get([here.id, gone]) == {here.id: here, gone: None}
    assert await cache.get([here.id, here.id]) == {here.id: here}


async def test_what_was_not_filled_is_not_known(cache: Cache) -> None:
    here = a_media()
    await fill(cache, here)

    assert await cache.get([new_media_id(), here.id]) == {here.id: here}
    assert await cache.get([new_media_id()]) == {}
    assert await cache.get([]) == {}


async def test_what_was_dropped_is_forgotten(cache: Cache) -> None:
    dropped, other, never = a_media(), a_media(), new_media_id()
    await fill(cache, dropped, other)
    await cache.fill({never: None}, begun=cache.begin())

    await cache.drop([dropped.id, never, new_media_id()])
    await cache.drop([])

    assert await cache.get([dropped.id, other.id, never]) == {other.id: other}


async def test_what_was_read_before_a_drop_is_not_filled_after_it(cache: Cache) -> None:
    dropped, other = a_media(), a_media()
    begun = cache.begin()

    await cache.drop([dropped.id])
    await cache.fill({dropped.id: dropped, other.id: other}, begun=begun)

    assert await cache.get([dropped.id, other.id]) == {other.id: other}


async def test_a_negative_answer_is_dropped_like_any_other(cache: Cache) -> None:
    created = a_media()
    begun = cache.begin()
    await cache.drop([created.id])
    await cache.fill({created.id: None}, begun=begun)

    assert await cache.get([created.id]) == {}


async def test_many_may_use_it_at_once(cache: Cache) -> None:
    media = [a_media() for _ in range(300)]
    await asyncio.gather(*(fill(cache, each) for each in media))

    found = await asyncio.gather(*(cache.get([each.id]) for each in media * 2))

    assert found == [{each.id: each} for each in media * 2]


async def test_one_who_leaves_does_not_disturb_the_others(cache: Cache) -> None:
    media = a_media()
    await fill(cache, media)

    tasks = [asyncio.create_task(cache.get([media.id])) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)

    assert found[1:] == [{media.id: media}] * 4


STEPS = st.lists(
    st.tuples(st.sampled_from(["read", "fill", "change", "get"]), st.integers(0, 2)), max_size=40
)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
async def test_no_order_of_reads_and_changes_serves_what_was(
    cache: Cache, steps: list[tuple[str, int]]
) -> None:
    rows = [a_media() for _ in range(3)]
    readings: list[tuple[float, Media]] = []
    for step, number in steps:
        row = rows[number]
        if step == "read":
            readings.append((cache.begin(), row))
        elif step == "fill" and readings:
            begun, was = readings.pop(number % len(readings))
            await cache.fill({was.id: was}, begun=begun)
        elif step == "change":
            await cache.drop([row.id])
            rows[number] = a_media(id=row.id, revision=row.revision + 1)
            await cache.drop([row.id])
        else:
            assert await cache.get([row.id]) in ({}, {row.id: rows[number]})


class Ticking:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Counted:
    def __init__(self) -> None:
        self.total = 0.0

    def inc(self, amount: float = 1) -> None:
        self.total += amount


async def test_the_process_forgets_in_time() -> None:
    clock = Ticking()
    cache, here, gone = InProcessCache(clock=clock), a_media(), new_media_id()
    await cache.fill({here.id: here, gone: None}, begun=cache.begin())

    clock.now += MISSING_SECONDS
    assert await cache.get([here.id, gone]) == {here.id: here}

    clock.now += FOUND_SECONDS - MISSING_SECONDS
    assert await cache.get([here.id]) == {}


async def test_the_process_keeps_what_was_used_last() -> None:
    cache = InProcessCache(max_entries=2)
    first, second, third = a_media(), a_media(), a_media()
    await fill(cache, first, second)
    await cache.get([first.id])

    await fill(cache, third)

    assert await cache.get([first.id, second.id, third.id]) == {first.id: first, third.id: third}


async def test_after_a_drop_the_process_takes_what_was_read_since() -> None:
    cache, media = InProcessCache(), a_media()
    await cache.drop([media.id])

    await fill(cache, media)

    assert await cache.get([media.id]) == {media.id: media}


async def test_the_process_does_not_need_to_remember_every_drop() -> None:
    cache, media = InProcessCache(), a_media()
    begun = cache.begin()
    await cache.drop([media.id])
    await cache.drop([MediaId(str(number)) for number in range(20_000)])

    await cache.fill({media.id: media}, begun=begun)

    assert await cache.get([media.id]) == {}


async def test_the_process_counts_hits_and_misses() -> None:
    hits, misses, media = Counted(), Counted(), a_media()
    cache = InProcessCache(hits=hits, misses=misses)
    await fill(cache, media)

    await cache.get([media.id, new_media_id(), new_media_id()])

    assert (hits.total, misses.total) == (1, 2)
