"""Everything twice, behind a balancer: what dies is missed by nobody, what restarts by none."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from embedded_servers.valkey import open_valkey
from media_client import MediaClient, MediaError, Purpose, Retries, UploadedMedia

from tests.e2e.samples import noisy_picture
from tests.e2e.topology import Topology, kill_servers, open_topology, restarted

pytestmark = [
    pytest.mark.needs_postgres,
    pytest.mark.needs_redis,
    pytest.mark.timeout(300),
]
ONCE_MORE = Retries(attempts=2)


@dataclasses.dataclass
class Load:
    """People who upload and read; what they were told, and what went wrong."""

    topology: Topology
    client: MediaClient
    http: httpx.AsyncClient
    acknowledged: dict[str, tuple[UploadedMedia, str]] = dataclasses.field(default_factory=dict)
    seen: dict[str, bytes] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)
    uploads: int = 0

    async def upload_for_ever(self, seed: int) -> None:
        """Each time another picture, by the client's own way."""
        chance = random.Random(seed)
        base = noisy_picture(seed, size=(80, 60))
        while True:
            data = base + chance.randbytes(8)  # after the end of the picture: other bytes
            try:
                stored = await self.client.upload_media(
                    data, filename="p.jpg", user_id="alice", purpose=Purpose.AVATAR
                )
            except MediaError as error:
                self.problems.append(f"upload: {error!r} {error.__cause__!r}")
            else:
                self.uploads += 1
                self.acknowledged[stored.media_id] = stored, hashlib.sha256(data).hexdigest()
            await asyncio.sleep(0.05)

    async def read_for_ever(self, seed: int) -> None:
        """The bytes of what was acknowledged: the same whenever they are read."""
        chance = random.Random(seed)
        while True:
            if self.acknowledged:
                stored, sha256 = self.acknowledged[chance.choice(list(self.acknowledged))]
                await self._read(stored, sha256)
            await asyncio.sleep(0.05)

    async def _read(self, stored: UploadedMedia, sha256: str) -> None:
        try:
            assert (await self.client.get_media(stored.media_id)).sha256 == sha256
            body = await self.body(stored)
        except (MediaError, httpx.HTTPError) as error:
            self.problems.append(f"read: {error!r} {error.__cause__!r}")
        else:
            assert self.seen.setdefault(stored.media_id, body) == body

    async def body(self, stored: UploadedMedia) -> bytes:
        """Read it, where there are several places at the other one if need be."""
        path = httpx.URL(stored.url).raw_path.decode()
        *others, last = self.topology.readable_at
        for base in others:
            with contextlib.suppress(httpx.TransportError):
                return (await self.http.get(base + path)).raise_for_status().content
        return (await self.http.get(last + path)).raise_for_status().content

    async def more_uploads(self, count: int) -> None:
        """Return when so many more were acknowledged."""
        enough = self.uploads + count
        async with asyncio.timeout(60):
            while self.uploads < enough:
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def loads(topology: Topology, *, retries: Retries) -> AsyncIterator[list[Load]]:
    """Load through the balancer, and directly, until the context ends."""
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as people:
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
        running, tasks = [], []
        for number, address in enumerate(topology.grpc_addresses):
            client = MediaClient(address, channels=2, retries=retries)
            load = Load(topology, await stack.enter_async_context(client), http)
            running.append(load)
            tasks.append(people.create_task(load.upload_for_ever(number)))
            tasks.append(people.create_task(load.read_for_ever(number)))
        try:
            yield running
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def nothing_is_lost(topology: Topology, running: list[Load]) -> None:
    """What was acknowledged is known, lies in the store as it was sent, and reads as before."""
    before = [list(load.acknowledged.values()) for load in running]
    assert all(before)
    held = await asyncio.to_thread(topology.stored_originals)
    assert all(name.startswith(sha256) for name, sha256 in held.items())
    for load, acknowledged in zip(running, before, strict=True):
        for stored, sha256 in acknowledged:
            assert (await load.client.get_media(stored.media_id)).sha256 == sha256
            assert sha256 in held.values()
        for media_id, body in list(load.seen.items()):
            assert await load.body(load.acknowledged[media_id][0]) == body


async def sign_up_with_a_picture(topology: Topology, photo: bytes) -> httpx.AsyncClient:
    http = httpx.AsyncClient(base_url=topology.users_at, timeout=60)
    body = {"username": "topsy", "password": "a quiet green harbour"}
    answer = await http.post("/api/v1/auth/register", json=body)
    assert answer.status_code == 201, answer.text
    http.headers["Authorization"] = f"Bearer {answer.json()['data']['access_token']}"
    files = {"file": ("me.jpg", photo, "image/jpeg")}
    stored = await http.post("/api/v1/media/profile-picture", files=files)
    assert stored.is_success, stored.text
    return http


async def test_each_is_killed_in_turn_and_the_instances_restart_in_turn_under_load(
    tmp_path: Path, photo: bytes
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        topology = await stack.enter_async_context(open_topology(tmp_path))
        person = await sign_up_with_a_picture(topology, photo)
        stack.push_async_callback(person.aclose)
        async with loads(topology, retries=Retries()) as running:
            await killed_in_turn(topology, running, stack)
            await nothing_is_lost(topology, running)
        profile = await person.get("/api/v1/profile")
        assert profile.json()["data"]["profile_picture_id"]

        async with loads(topology, retries=ONCE_MORE) as running:
            await asyncio.gather(*(load.more_uploads(3) for load in running))
            for instance in topology.media:
                status = await asyncio.to_thread(instance.stop, timeout=30)
                assert status == 0
                await asyncio.gather(*(load.more_uploads(3) for load in running))
                await restarted(instance)
                await asyncio.gather(*(load.more_uploads(3) for load in running))
            assert [each for load in running for each in load.problems] == []
            await nothing_is_lost(topology, running)


async def killed_in_turn(
    topology: Topology, running: list[Load], stack: contextlib.AsyncExitStack
) -> None:
    """kill -9: an instance, a worker and another at a time, then what they all share."""
    one, two = topology.media
    first, second = topology.workers
    for instance, worker, other in (one, first, topology.users), (two, second, None):
        await asyncio.gather(*(load.more_uploads(3) for load in running))
        for each in filter(None, (instance, worker, other)):
            each.kill()
        await asyncio.gather(*(load.more_uploads(3) for load in running))
        await restarted(*filter(None, (instance, worker, other)))
    if topology.balancer:
        topology.balancer.kill()
        topology.balancer.start()
    kill_servers("valkey-server")
    await asyncio.gather(*(load.more_uploads(3) for load in running))
    async with httpx.AsyncClient() as http:
        readiness = (await http.get(f"{one.base_url}/readyz")).json()
        assert readiness["data"]["backends"]["cache"] == "degraded"
    url = await stack.enter_async_context(open_valkey(topology.folder / "valkey-again"))
    topology.network.mend(server_url=url)
    kill_servers("postgres")
    await asyncio.gather(*(load.more_uploads(3) for load in running))
