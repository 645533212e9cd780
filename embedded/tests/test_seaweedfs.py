"""What tests may rely on when they open a SeaweedFS."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError
from embedded_servers.errors import FolderNotUsable
from embedded_servers.seaweedfs import SeaweedFS, open_seaweedfs
from types_aiobotocore_s3 import S3Client


@asynccontextmanager
async def client_of(server: SeaweedFS) -> AsyncIterator[S3Client]:
    async with get_session().create_client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=AioConfig(retries={"total_max_attempts": 1}),
    ) as client:
        yield client


def answers(endpoint: str) -> bool:
    try:
        with urlopen(endpoint, timeout=2):
            return True
    except HTTPError:
        return True
    except OSError:
        return False


async def test_it_lets_its_owner_in_and_strangers_not(tmp_path: Path) -> None:
    async with open_seaweedfs(tmp_path / "s3") as server:
        async with client_of(server) as client:
            await client.create_bucket(Bucket="bucket")
            await client.put_object(Bucket="bucket", Key="a/key", Body=b"value")
            answer = await client.get_object(Bucket="bucket", Key="a/key")
            assert await answer["Body"].read() == b"value"
            with pytest.raises(ClientError, match="NoSuchBucket"):
                await client.put_object(Bucket="other", Key="a/key", Body=b"value")
        with pytest.raises(HTTPError, match="403"):
            await asyncio.to_thread(urlopen, f"{server.endpoint}/bucket/a/key")

    assert not answers(server.endpoint)
    assert server.secret_key not in repr(server)


async def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    async with open_seaweedfs(tmp_path) as first, client_of(first) as client:
        await client.create_bucket(Bucket="bucket")
        await client.put_object(Bucket="bucket", Key="key", Body=b"value")
        os.kill(first.pid, signal.SIGKILL)

    async with open_seaweedfs(tmp_path) as second, client_of(second) as client:
        answer = await client.get_object(Bucket="bucket", Key="key")
        assert await answer["Body"].read() == b"value"


async def test_it_ends_when_its_owner_is_killed(
    tmp_path: Path, open_elsewhere: Callable[..., Awaitable[tuple[Process, str]]]
) -> None:
    owner, endpoint = await open_elsewhere("seaweedfs", tmp_path)

    owner.kill()
    await owner.wait()

    for _ in range(200):
        if not await asyncio.to_thread(answers, endpoint):
            return
        await asyncio.sleep(0.02)
    pytest.fail("it still answers")


async def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(FolderNotUsable):
        async with open_seaweedfs(tmp_path / "file"):
            pass
