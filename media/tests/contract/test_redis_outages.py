"""All the ways in which Redis can be slow, away, full or of yesterday: none is ever noticed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from embedded_servers.valkey import open_valkey
from fakes.patience import eventually
from fakes.redis_caches import (
    fill,
    held,
    is_away,
    is_tombstone,
    key_of,
    never_knows_until,
    ready_cache,
    stopped,
    works,
)
from fakes.redis_servers import Network, open_redis
from fakes.samples import a_media
from media_service.core.media import new_media_id
from media_service.infra.redis.cache import (
    GENERATION_KEY,
    LATE_TOMBSTONE_SECONDS,
    TOMBSTONE,
    RedisCache,
    open_redis_cache,
)
from media_service.infra.redis.trust import MAX_OWED
from redis.asyncio import Redis

pytestmark = pytest.mark.needs_redis


async def test_a_flushed_redis_is_used_again_but_not_for_what_was_read_before(
    near: RedisCache, far: RedisCache, redis: Redis
) -> None:
    media = a_media()
    begun = near.begin()
    await far.drop([media.id])
    await redis.flushall()  # and with it the tombstone

    await near.fill({media.id: media}, begun=begun)
    await never_knows_until(far, media, lambda: works(far))
    await eventually(lambda: works(near))
    await near.fill({media.id: media}, begun=begun)

    assert await near.get([media.id]) == await far.get([media.id]) == {}


async def test_a_redis_that_hangs_is_passed_over_at_once(valkey_url: str, redis: Redis) -> None:
    media = a_media()
    async with open_redis_cache(valkey_url) as cache:
        await eventually(lambda: works(cache))
        async with stopped(redis):
            begun = time.perf_counter()
            await eventually(lambda: is_away(cache))
            assert time.perf_counter() - begun < 1

            begun = time.perf_counter()
            for _ in range(100):
                assert await cache.get([media.id]) == {}
                await cache.fill({media.id: media}, begun=cache.begin())
                await cache.drop([new_media_id()])
            assert time.perf_counter() - begun < 0.25

        await eventually(lambda: works(cache))


async def test_what_changed_while_redis_hung_is_not_served_when_it_is_back(
    near: RedisCache, far: RedisCache, redis: Redis
) -> None:
    media = a_media()
    await fill(near, media)
    async with stopped(redis):
        await far.drop([media.id])
        await eventually(lambda: is_away(near))
        await eventually(lambda: is_away(far))
        await far.drop([media.id])

    await asyncio.gather(
        never_knows_until(near, media, lambda: works(near)),
        never_knows_until(far, media, lambda: works(far)),
    )


async def test_what_changed_while_the_network_was_cut_is_not_served_afterwards(
    near: RedisCache, far: RedisCache, network: Network, redis: Redis
) -> None:
    media = a_media()
    await fill(far, media)
    network.cut()
    await eventually(lambda: is_away(far))

    await far.drop([media.id])
    network.mend()

    await never_knows_until(far, media, lambda: works(far))
    assert await near.get([media.id]) == {}
    assert await redis.ttl(await key_of(redis, media.id)) > LATE_TOMBSTONE_SECONDS - 10


async def test_a_drop_that_failed_is_made_up_for(
    near: RedisCache, far: RedisCache, network: Network, redis: Redis
) -> None:
    media = a_media()
    await fill(far, media)
    network.cut()

    await far.drop([media.id])
    assert await far.get([media.id]) == {}
    network.mend()

    await eventually(lambda: is_tombstone(redis, media.id))
    assert await near.get([media.id]) == {}


async def test_after_an_outage_others_may_first_say_what_changed(
    near: RedisCache, far: RedisCache, network: Network, redis: Redis
) -> None:
    media = a_media()
    await fill(near, media)
    network.cut()
    await eventually(lambda: is_away(far))
    await far.drop([media.id])
    async with stopped(redis):
        await eventually(lambda: is_away(near))

    async def is_back() -> bool:
        return not near._trust.is_away

    await never_knows_until(near, media, is_back)
    assert await held(redis, media.id) != TOMBSTONE
    network.mend()
    await never_knows_until(near, media, lambda: works(near))


async def test_a_fill_that_arrives_late_is_undone(
    near: RedisCache, far: RedisCache, network: Network, redis: Redis
) -> None:
    media = a_media()
    network.hold()
    await fill(far, media)
    assert far._trust.owes(media.id)

    network.release()
    await eventually(lambda: is_tombstone(redis, media.id))

    assert await near.get([media.id]) == {}
    await never_knows_until(far, media, lambda: works(far))


async def test_a_drop_whose_caller_leaves_is_done_all_the_same(
    near: RedisCache, far: RedisCache, network: Network
) -> None:
    media = a_media()
    await fill(far, media)
    network.hold()
    dropping = asyncio.create_task(far.drop([media.id]))
    await asyncio.sleep(0.01)
    dropping.cancel()
    network.release()

    async def is_dropped() -> bool:
        return await near.get([media.id]) == {}

    await eventually(is_dropped)


async def test_too_many_changes_to_remember_abandon_everything(
    near: RedisCache, far: RedisCache, network: Network, redis: Redis
) -> None:
    media = a_media()
    await fill(far, media)
    before = await redis.get(GENERATION_KEY)
    network.cut()
    await eventually(lambda: is_away(far))

    await far.drop([media.id])
    for _ in range(MAX_OWED):
        await far.drop([new_media_id()])
    network.mend()

    await never_knows_until(far, media, lambda: works(far))
    assert await redis.get(GENERATION_KEY) != before
    assert await near.get([media.id]) == {}
    await eventually(lambda: works(near))


async def test_a_redis_that_was_killed_is_used_again_when_another_is_there(
    tmp_path: Path, redis: Redis, network: Network
) -> None:
    media = a_media()
    async with open_valkey(tmp_path / "first") as first:
        network.mend(server_url=first)
        async with ready_cache(network.url) as cache:
            await fill(cache, media)
            async with open_redis(first) as doomed:
                os.kill((await doomed.info("server"))["process_id"], signal.SIGKILL)
            await eventually(lambda: is_away(cache))
            assert await cache.get([media.id]) == {}
            await cache.drop([media.id])

            async with open_valkey(tmp_path / "second") as second:
                network.mend(server_url=second)
                await eventually(lambda: works(cache))
                assert await cache.get([media.id]) == {}


async def test_a_redis_that_comes_back_with_an_old_snapshot_is_not_believed(
    tmp_path: Path, redis: Redis, near: RedisCache, far: RedisCache, network: Network
) -> None:
    media = a_media()
    await fill(near, media)
    snapshot = [(key, await redis.dump(key)) for key in await redis.keys()]
    await far.drop([media.id])

    async with open_valkey(tmp_path / "restarted") as restarted:
        async with open_redis(restarted) as other:
            for key, value in snapshot:
                await other.restore(key, 0, value or b"")
        network.cut()
        network.mend(server_url=restarted)

        await never_knows_until(far, media, lambda: works(far))


async def test_a_full_redis_still_forgets(near: RedisCache, redis: Redis) -> None:
    media = a_media()
    await fill(near, media)
    await redis.config_set("maxmemory", 1)
    try:
        await near.drop([media.id])
        await fill(near, a_media())

        assert await held(redis, media.id) is None
        assert await near.get([media.id]) == {}
    finally:
        await redis.config_set("maxmemory", 0)
    await eventually(lambda: works(near))


async def test_a_redis_that_takes_no_writes_is_not_read(near: RedisCache, redis: Redis) -> None:
    media = a_media()
    await fill(near, media)
    await redis.replicaof("127.0.0.1", "1")
    try:
        await fill(near, a_media())

        assert await near.get([media.id]) == {}
    finally:
        await redis.replicaof("no", "one")
    await eventually(lambda: works(near))


async def test_nobody_there_is_no_error() -> None:
    media = a_media()
    async with open_redis_cache("redis://127.0.0.1:1/0") as cache:
        for _ in range(20):
            assert await cache.get([media.id]) == {}
            await cache.fill({media.id: media}, begun=cache.begin())
            await cache.drop([media.id])


async def test_someone_else_there_is_no_error() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    media = a_media()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with open_redis_cache(f"redis://127.0.0.1:{port}/0") as cache:
            for _ in range(20):
                assert await cache.get([media.id]) == {}
                await cache.drop([media.id])
