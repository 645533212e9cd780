"""What Redis adds: processes that share it, and values that are not ours."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fakes.patience import eventually
from fakes.redis_caches import (
    counted,
    fill,
    held,
    is_tombstone,
    key_of,
    knows,
    ready_cache,
    works,
)
from fakes.samples import NOON, a_media
from media_service.core.media import new_media_id
from media_service.core.renditions import ProcessingOptions
from media_service.infra.redis.cache import (
    FOUND_SECONDS,
    GENERATION_KEY,
    MISSING_SECONDS,
    TOMBSTONE_SECONDS,
    RedisCache,
    open_redis_cache,
)
from redis.asyncio import Redis

OPTIONS = ProcessingOptions(generate_thumbnails=False, generate_blurhash=True, max_width=9)

pytestmark = pytest.mark.needs_redis


async def test_processes_share_what_they_remember(near: RedisCache, far: RedisCache) -> None:
    media = a_media()
    await fill(near, media)
    assert await knows(far, media)

    await far.drop([media.id])

    assert await near.get([media.id]) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"created_at": NOON.replace(microsecond=1), "expires_at": NOON, "deleted_at": NOON},
        {
            "filename": 'a "name" \\ with\nünïcode 🙂',
            "failure_code": "broken_file",
            "duration_ms": 9,
        },
        {"renditions": ()},
    ],
)
async def test_every_field_comes_back(near: RedisCache, changes: dict[str, Any]) -> None:
    media = a_media(**changes)

    await fill(near, media)

    assert await knows(near, media)


async def test_everything_is_forgotten_in_time(near: RedisCache, redis: Redis) -> None:
    here, gone, dropped = a_media(), new_media_id(), new_media_id()
    await near.fill({here.id: here, gone: None}, begun=near.begin())
    await near.drop([dropped])

    seconds = [await redis.ttl(await key_of(redis, i)) for i in (here.id, gone, dropped)]

    assert seconds == [FOUND_SECONDS, MISSING_SECONDS, TOMBSTONE_SECONDS]


async def test_what_another_process_dropped_meanwhile_is_not_filled(
    near: RedisCache, far: RedisCache
) -> None:
    media = a_media()
    begun = near.begin()

    await far.drop([media.id])
    await near.fill({media.id: media}, begun=begun)

    assert await near.get([media.id]) == {}


async def test_what_was_read_long_ago_is_not_filled(valkey_url: str, redis: Redis) -> None:
    now = 1000.0
    async with ready_cache(valkey_url, clock=lambda: now) as cache:
        media, begun = a_media(), cache.begin()

        now += 10.1
        await cache.fill({media.id: media}, begun=begun)

        assert await cache.get([media.id]) == {}


@pytest.mark.parametrize("damage", ["garbage", "flipped", "cut", "version", "other id", "empty"])
async def test_what_is_not_ours_is_a_miss_and_goes(
    near: RedisCache, redis: Redis, damage: str
) -> None:
    media, other = a_media(), a_media()
    await fill(near, media, other)
    key, value = await key_of(redis, media.id), await held(redis, media.id) or b""
    broken = {
        "garbage": b"\x80\x04}",
        "flipped": value[:-3] + bytes([value[-3] ^ 1]) + value[-2:],
        "cut": value[:-1],
        "version": value[:10] + b"?" + value[11:],
        "other id": await held(redis, other.id) or b"",
        "empty": b"",
    }
    await redis.set(key, broken[damage])
    errors_before = counted()[2]

    assert await near.get([media.id, other.id]) == {other.id: other}

    assert counted()[2] == errors_before + 1
    await eventually(lambda: is_tombstone(redis, media.id))


async def test_a_foreign_type_under_our_keys_is_a_miss(near: RedisCache, redis: Redis) -> None:
    media = a_media()
    await redis.rpush(await key_of(redis, media.id), "a list")
    assert await near.get([media.id]) == {}
    await redis.delete(GENERATION_KEY)
    await redis.rpush(GENERATION_KEY, "a list")

    await eventually(lambda: works(near))


async def test_hits_and_misses_are_counted(near: RedisCache) -> None:
    media = a_media()
    await fill(near, media)
    hits, misses, errors = counted()

    await near.get([media.id, new_media_id(), new_media_id()])

    assert counted() == (hits + 1, misses + 2, errors)


async def test_many_gets_at_once_are_few_calls(near: RedisCache, redis: Redis) -> None:
    media = [a_media() for _ in range(100)]
    await fill(near, *media)
    await redis.config_resetstat()

    await asyncio.gather(*(near.get([each.id]) for each in media))

    assert (await redis.info("commandstats"))["cmdstat_mget"]["calls"] <= 3


async def test_a_redis_that_will_not_say_who_it_is_is_used_all_the_same(
    valkey_url: str, redis: Redis
) -> None:
    await redis.acl_setuser(
        "shy", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-info"]
    )

    async with ready_cache(valkey_url.replace("//", "//shy:pw@")) as cache:
        assert await works(cache)


async def test_what_is_no_url_is_refused_at_once() -> None:
    with pytest.raises(ValueError):
        async with open_redis_cache("http://localhost"):
            pass
