"""What several contract tests need: every kind of storage, a real Valkey, two caches in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import pytest_asyncio
from embedded_servers.valkey import open_valkey
from fakes.redis_caches import ready_cache
from fakes.redis_servers import Network, open_network, open_redis
from fakes.storages import KINDS, Storage, in_s3
from media_service.infra.redis.cache import RedisCache
from redis.asyncio import Redis


@pytest.fixture(params=[*KINDS, pytest.param("s3", marks=pytest.mark.needs_s3)])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    """A storage of every kind, one after the other."""
    if request.param == "s3":
        server, bucket = (request.getfixturevalue(name) for name in ("seaweedfs", "s3_bucket"))
        opening: AbstractAsyncContextManager[Storage] = in_s3(tmp_path, server, bucket)
    else:
        opening = KINDS[request.param](tmp_path)
    async with opening as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with open_valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    """The server itself, empty."""
    async with open_redis(valkey_url) as client:
        await client.flushall()
        yield client


@pytest.fixture
async def network(valkey_url: str, redis: Redis) -> AsyncIterator[Network]:
    async with open_network(valkey_url) as opened:
        yield opened


@pytest.fixture
async def near(valkey_url: str, redis: Redis) -> AsyncIterator[RedisCache]:
    """The cache of a process that nothing disturbs."""
    async with ready_cache(valkey_url) as cache:
        yield cache


@pytest.fixture
async def far(network: Network, near: RedisCache) -> AsyncIterator[RedisCache]:
    """The cache of another process, behind the network."""
    async with ready_cache(network.url) as cache:
        yield cache
