"""What tests may rely on when they open a Valkey."""

import asyncio
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from embedded_servers.errors import FolderNotUsable
from embedded_servers.valkey import open_valkey
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError


async def test_it_answers_and_is_gone_afterwards(tmp_path: Path) -> None:
    async with open_valkey(tmp_path / "vk") as url, Redis.from_url(url) as redis:
        await redis.set("key", "value")
        assert await redis.get("key") == b"value"

    with pytest.raises(RedisConnectionError):
        await redis.ping()


async def test_it_forgets_everything(tmp_path: Path) -> None:
    async with open_valkey(tmp_path) as url, Redis.from_url(url) as redis:
        await redis.set("key", "value")

    async with open_valkey(tmp_path) as url, Redis.from_url(url) as redis:
        assert await redis.get("key") is None


async def test_several_run_side_by_side(tmp_path: Path) -> None:
    async with open_valkey(tmp_path / "a") as first, open_valkey(tmp_path / "b") as second:
        assert first != second


async def test_it_ends_when_its_owner_is_killed(
    tmp_path: Path, open_elsewhere: Callable[..., Awaitable[tuple[Process, str]]]
) -> None:
    owner, url = await open_elsewhere("valkey", tmp_path)

    owner.kill()
    await owner.wait()

    async with Redis.from_url(url) as redis:
        for _ in range(100):
            try:
                await redis.ping()
            except RedisConnectionError:
                return
            await asyncio.sleep(0.02)
    pytest.fail("it still answers")


async def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(FolderNotUsable):
        async with open_valkey(tmp_path / "file"):
            pass
