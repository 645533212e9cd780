"""Bytes move to another store while instances take uploads, serve and delete."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from embedded_servers.postgres import open_postgres
from embedded_servers.seaweedfs import open_seaweedfs
from fakes.s3_server import make_bucket
from media_proto import media_service_pb2 as pb
from PIL import Image

from tests.e2e.processes import Mediad, completed, stub, upload_request
from tests.e2e.samples import flip_a_byte, noisy_picture

SEEDED = 12


class Users:
    """People who upload, look and delete, on whichever instance the balancer names."""

    def __init__(self, instance: Mediad) -> None:
        self._instance = instance
        self._served: Counter[Mediad] = Counter()
        self._seeds = itertools.count()
        self.kept: dict[str, str] = {}
        self.hashes: dict[str, str] = {}
        self.deleted: list[str] = []

    async def go_to(self, instance: Mediad) -> None:
        """From now on to this instance; return when the one before serves nobody any more."""
        before, self._instance = self._instance, instance
        while self._served[before]:
            await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def balanced(self) -> AsyncIterator[Mediad]:
        instance = self._instance
        self._served[instance] += 1
        try:
            yield instance
        finally:
            self._served[instance] -= 1

    async def upload(self) -> str:
        data = noisy_picture(next(self._seeds), size=(400, 320))
        async with self.balanced() as instance, instance.channel() as channel:
            answer = await stub(channel).UploadMedia(upload_request(data))
        self.kept[answer.media_id], self.hashes[answer.media_id] = answer.url, answer.sha256
        return answer.media_id

    async def upload_done(self) -> str:
        media_id = await self.upload()
        async with self.balanced() as instance, instance.channel() as channel:
            await completed(stub(channel), media_id)
        return media_id

    async def delete(self, media_id: str) -> None:
        del self.kept[media_id]
        self.deleted.append(media_id)
        request = pb.DeleteMediaRequest(media_id=media_id, user_id="alice")
        async with self.balanced() as instance, instance.channel() as channel:
            await stub(channel).DeleteMedia(request)

    async def look(self, media_id: str) -> None:
        url = urlsplit(self.kept[media_id])
        async with self.balanced() as instance, httpx.AsyncClient(timeout=30) as http:
            response = await http.get(f"{instance.base_url}{url.path}?{url.query}")
        assert response.status_code == 200, response.text
        Image.open(io.BytesIO(response.content)).load()

    async def live(self) -> None:
        """Upload, look at that and at something old, delete some."""
        for number in itertools.count(1):
            media_id = await self.upload()
            await self.look(media_id)
            await self.look(next(iter(self.kept)))
            if number % 3 == 0:
                await self.delete(media_id)
            if number % 7 == 0:
                await self.delete(next(iter(self.kept)))
            await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        """They do while this lasts, and nothing may go wrong for them."""
        life = asyncio.create_task(self.live())
        yield
        if life.done():
            await life
        life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await life


def objects(store: Path) -> set[str]:
    """The keys in a store."""
    found = [*store.glob("originals/*/*/*"), *store.glob("renditions/*/*/*")]
    return {str(file.relative_to(store)) for file in found}


async def killed_copy(instance: Mediad, target: Path) -> None:
    """A copy that is killed as soon as some of it is done."""
    before = len(objects(target))
    copy = subprocess.Popen(
        [sys.executable, "-m", "media_service", "blobs", "copy", "--concurrency", "1"],
        env=instance.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(objects(target)) < before + 4 and copy.poll() is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    copy.kill()
    copy.wait()


async def run(instance: Mediad, *arguments: str) -> tuple[int, dict[str, Any]]:
    """What a command answered, and its status."""
    ended = await asyncio.to_thread(instance.command, *arguments)
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


@pytest.fixture
async def database_url(tmp_path: Path) -> AsyncIterator[str]:
    async with open_postgres(tmp_path / "postgres") as url:
        yield url


async def test_a_store_moves_under_load_and_nothing_is_lost(
    tmp_path: Path, database_url: str
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"

    def instance(name: str, store: Path, fallback: Path | None = None) -> Mediad:
        settings = {"MEDIAD_STORAGE_FALLBACK_URL": f"file://{fallback}"} if fallback else {}
        return Mediad(
            tmp_path / name,
            MEDIAD_DATABASE_URL=database_url,
            MEDIAD_SIGNING_KEYS="k1:0123456789abcdef0123456789abcdef",
            MEDIAD_DELETE_GRACE_SECONDS="0",
            MEDIAD_STORAGE_URL=f"file://{store}",
            **settings,
        )

    before, during = instance("before", old, new), instance("during", new, old)
    after = instance("after", new)
    users = Users(before)

    with contextlib.ExitStack() as running:
        running.enter_context(during.running())
        with before.running():
            for _ in range(SEEDED):
                await users.upload_done()
            damaged = await damaged_upload(users, old)
            async with users.living():
                await users.go_to(during)
        async with users.living():
            await killed_copy(during, new)
            status, report = await run(during, "blobs", "copy")
            assert (status, report["failed"]) == (1, [{"key": damaged, "why": "damaged"}])
            assert report["held"] >= 4
        status, report = await run(during, "blobs", "copy", "--verify-only")
        assert (status, report["damaged"], report["copied"]) == (1, 1, 0)
        running.enter_context(after.running())
        async with users.living():
            await users.go_to(after)
        await run(during, "sweep", "--grace", "0")
        during.stop()
        assert_gone([users.hashes[media_id] for media_id in users.deleted], old, new)
        old.rename(tmp_path / "away")
        for media_id in users.kept:
            await users.look(media_id)
    assert len(users.kept) > SEEDED


async def damaged_upload(users: Users, store: Path) -> str:
    """The key of an original whose bytes are no longer what they were."""
    sha256 = users.hashes[await users.upload_done()]
    key = f"originals/{sha256[:2]}/{sha256[2:4]}/{sha256}"
    flip_a_byte(store / key)
    return key


def assert_gone(hashes: list[str], *stores: Path) -> None:
    for store in stores:
        left = [key for key in objects(store) for sha256 in hashes if sha256 in key]
        assert left == []


async def test_a_store_moves_into_a_bucket(tmp_path: Path, database_url: str) -> None:
    old = tmp_path / "old"
    async with open_seaweedfs(tmp_path / "seaweedfs") as server:
        make_bucket(server, "moved")
        shared = {
            "MEDIAD_DATABASE_URL": database_url,
            "MEDIAD_SIGNING_KEYS": "k1:0123456789abcdef0123456789abcdef",
            "MEDIAD_STORAGE_URL": f"s3://moved/media?endpoint={server.endpoint}",
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
        }
        before = Mediad(tmp_path / "one", **shared | {"MEDIAD_STORAGE_URL": f"file://{old}"})
        during = Mediad(tmp_path / "two", **shared, MEDIAD_STORAGE_FALLBACK_URL=f"file://{old}")
        after = Mediad(tmp_path / "three", **shared)
        users = Users(before)
        with before.running():
            for _ in range(3):
                await users.upload_done()
        with during.running():
            await users.go_to(during)
            async with users.living():
                status, report = await run(during, "blobs", "copy")
                assert (status, report["copied"] >= 3 * 5) == (0, True)
            status, report = await run(during, "blobs", "copy", "--verify-only")
            assert (status, report["copied"]) == (0, 0)
        old.rename(tmp_path / "away")
        with after.running():
            await users.go_to(after)
            for media_id in users.kept:
                await users.look(media_id)
