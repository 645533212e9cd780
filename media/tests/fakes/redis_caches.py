"""Caches in Redis under test, and looks behind their backs."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fakes.patience import eventually
from fakes.samples import a_media
from media_service.core.media import Media, MediaId, new_media_id
from media_service.infra.redis.cache import (
    ERRORS,
    GENERATION_KEY,
    HITS,
    MISSES,
    TOMBSTONE,
    RedisCache,
    open_redis_cache,
)
from redis.asyncio import Redis


@asynccontextmanager
async def ready_cache(
    url: str, *, timeout_seconds: float = 0.25, **options: Any
) -> AsyncIterator[RedisCache]:
    """A cache with some patience, because a busy machine must not look like a slow Redis."""
    async with open_redis_cache(url, timeout_seconds=timeout_seconds, **options) as cache:
        await eventually(lambda: works(cache))
        yield cache


async def works(cache: RedisCache) -> bool:
    """Whether it remembers what it was given just now."""
    media = a_media()
    await fill(cache, media)
    return await cache.get([media.id]) == {media.id: media}


async def fill(cache: RedisCache, *media: Media) -> None:
    await cache.fill({each.id: each for each in media}, begun=cache.begin())


async def knows(cache: RedisCache, media: Media) -> bool:
    return await cache.get([media.id]) == {media.id: media}


async def is_away(cache: RedisCache) -> bool:
    await cache.get([new_media_id()])
    return cache._trust.is_away


async def key_of(redis: Redis, media_id: MediaId) -> str:
    generation = await redis.get(GENERATION_KEY)
    assert isinstance(generation, bytes)
    return f"mediad:media:{generation.decode()}:{media_id}"


async def held(redis: Redis, media_id: MediaId) -> bytes | None:
    value = await redis.get(await key_of(redis, media_id))
    assert not isinstance(value, str)
    return value


async def never_knows_until(
    cache: RedisCache, media: Media, holds: Callable[[], Awaitable[bool]]
) -> None:
    """Ask all the time until it holds; not once may the medium be remembered."""

    async def check() -> bool:
        assert await cache.get([media.id]) == {}
        return await holds()

    await eventually(check)
    assert await cache.get([media.id]) == {}


def counted() -> tuple[float, float, float]:
    values = (each.labels("redis")._value.get() for each in (HITS, MISSES, ERRORS))
    hits, misses, errors = values
    return hits, misses, errors


@asynccontextmanager
async def stopped(redis: Redis) -> AsyncIterator[None]:
    """The server takes connections and bytes, and does nothing."""
    pid = (await redis.info("server"))["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def is_tombstone(redis: Redis, media_id: MediaId) -> bool:
    return await held(redis, media_id) == TOMBSTONE
