"""The deployment of `deploy/` as processes: everything twice, behind HAProxy where there is one."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import os
import shutil
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
from embedded_servers.postgres import open_postgres
from embedded_servers.seaweedfs import SeaweedFS, open_seaweedfs
from embedded_servers.valkey import open_valkey
from fakes.redis_servers import Network, open_network
from fakes.s3_server import make_bucket, sync_client

from tests.e2e.processes import Mediad, Served, free_port
from tests.e2e.userd_process import Userd

HAPROXY = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
CONFIG = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"
BUCKET = "media"
SIGNING_KEYS = "k1:0123456789abcdef0123456789abcdef"


class Worker(Mediad):
    """A media service that only does jobs; it is ready when it tells its metrics."""

    def _is_ready(self) -> bool:
        url = f"http://127.0.0.1:{self.http_port}/metrics"
        with contextlib.suppress(OSError):
            return bool(urllib.request.urlopen(url, timeout=2).status == 200)
        return False

    @property
    def environment(self) -> dict[str, str]:
        named = super().environment
        return named | {"MEDIAD_METRICS_PORT": named.pop("MEDIAD_PORT")}


class Balancer:
    """HAProxy with the configuration of `deploy/`."""

    def __init__(self, media: list[Mediad], folder: Path) -> None:
        self.media, self.folder = media, folder
        self.grpc_port, self.media_port, self.users_port = free_port(), free_port(), free_port()
        self.users_target = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        one, two = self.media
        return {
            "PATH": os.defpath,
            "CHECK_INTERVAL": "200ms",
            "GRPC_BIND": f"127.0.0.1:{self.grpc_port}",
            "MEDIA_BIND": f"127.0.0.1:{self.media_port}",
            "USERS_BIND": f"127.0.0.1:{self.users_port}",
            "MEDIA_ONE_GRPC": f"127.0.0.1:{one.grpc_port}",
            "MEDIA_TWO_GRPC": f"127.0.0.1:{two.grpc_port}",
            "MEDIA_ONE_HOST": "127.0.0.1",
            "MEDIA_TWO_HOST": "127.0.0.1",
            "MEDIA_ONE_HTTP_PORT": str(one.http_port),
            "MEDIA_TWO_HTTP_PORT": str(two.http_port),
            "USERS_ONE": self.users_target,
        }

    def start(self) -> None:
        assert HAPROXY
        with (self.folder / "haproxy.log").open("ab") as log:
            self._process = subprocess.Popen(
                [HAPROXY, "-db", "-f", CONFIG], env=self.environment, stdout=log, stderr=log
            )

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self._process.wait()


@dataclasses.dataclass(kw_only=True)
class Topology:
    """All of it, running."""

    media: list[Mediad]
    workers: list[Worker]
    users: Userd
    balancer: Balancer | None
    network: Network
    folder: Path
    s3: SeaweedFS

    @property
    def grpc_addresses(self) -> list[str]:
        """What clients are told: the balancer, and the instances themselves."""
        direct = ",".join(f"127.0.0.1:{each.grpc_port}" for each in self.media)
        return [f"127.0.0.1:{self.balancer.grpc_port}", direct] if self.balancer else [direct]

    @property
    def readable_at(self) -> list[str]:
        """What URLs begin with that can be read."""
        if self.balancer:
            return [f"http://127.0.0.1:{self.balancer.media_port}"]
        return [each.base_url for each in self.media]

    def stored_originals(self) -> dict[str, str]:
        """What the store has: the hash of the bytes by the name that should be it."""
        client, stored = sync_client(self.s3), {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for key in (each["Key"] for each in page.get("Contents", ())):
                if key.startswith("all/originals/"):
                    body = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
                    stored[key.rpartition("/")[2]] = hashlib.sha256(body).hexdigest()
        return stored

    @property
    def users_at(self) -> str:
        if self.balancer:
            return f"http://127.0.0.1:{self.balancer.users_port}"
        return self.users.base_url


@contextlib.asynccontextmanager
async def open_topology(folder: Path) -> AsyncIterator[Topology]:
    """Two media instances, two workers, one user service; one of each that they share."""
    folder.chmod(0o755)
    async with (
        open_postgres(folder / "postgres") as database,
        open_postgres(folder / "postgres", database="userd") as users_database,
        open_valkey(folder / "valkey") as valkey,
        open_network(valkey) as network,
        open_seaweedfs(folder / "s3") as s3,
    ):
        await asyncio.to_thread(make_bucket, s3, BUCKET)
        shared = {
            "MEDIAD_DATABASE_URL": database,
            "MEDIAD_REDIS_URL": network.url,
            "MEDIAD_STORAGE_URL": f"s3://{BUCKET}/all?endpoint={s3.endpoint}&region={s3.region}",
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "MEDIAD_SIGNING_KEYS": SIGNING_KEYS,
            "MEDIAD_CELLS": "1",
            "MEDIAD_MAX_CONNECTIONS": "8",
            "MEDIAD_DRAIN_SECONDS": "1",
        }
        media = [
            Mediad(folder / name, **shared, MEDIAD_ROLES="grpc,http") for name in ("one", "two")
        ]
        workers = [Worker(folder / f"worker-{n}", **shared, MEDIAD_ROLES="worker") for n in "12"]
        balancer = Balancer(media, folder) if HAPROXY else None
        if balancer:
            for each in media:
                each._settings["MEDIAD_PUBLIC_URL"] = f"http://127.0.0.1:{balancer.media_port}"
        users = Userd(folder / "users", media[0], USERD_DATABASE_URL=users_database)
        topology = Topology(
            media=media,
            workers=workers,
            users=users,
            balancer=balancer,
            network=network,
            folder=folder,
            s3=s3,
        )
        users._settings["USERD_MEDIA_ADDRESS"] = topology.grpc_addresses[0]
        users._settings["USERD_MEDIA_PUBLIC_URL"] = topology.readable_at[0]
        with _running([*media, *workers, users], balancer):
            yield topology


@contextlib.contextmanager
def _running(services: list[Served], balancer: Balancer | None) -> Iterator[None]:
    """Start everything at once; in the end, stop what still runs."""
    with contextlib.ExitStack() as stack:
        for service in services:
            stack.callback(_stopped, service)
        if balancer:
            balancer.users_target = f"127.0.0.1:{services[-1].http_port}"
            balancer.start()
            stack.callback(balancer.kill)
        for service in services:
            service.launch()
        for service in services:
            service.wait_until_ready()
        yield


def _stopped(service: Served) -> None:
    if service.is_started and service.status is None:
        service.kill()


def kill_servers(name: str) -> None:
    """kill -9 every program of this name that this test has started itself."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name() == name:
                child.kill()


async def restarted(*services: Served) -> None:
    """Start them again, in the background of what the test's loop does."""
    await asyncio.gather(*(asyncio.to_thread(each.start) for each in services))
