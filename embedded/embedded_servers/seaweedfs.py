"""A real S3 server for tests, run as a child of this process: SeaweedFS, all of it in one process.

It listens on the loopback interface only, knows one identity whose secret is made at each start,
has no bucket until somebody makes one, and calls nobody. What was acknowledged survives kill -9:
opened again in the same folder, it has what it had.

SeaweedFS puts sockets of its own into /tmp, named by its ports. They go when its context ends,
and those of servers that were killed with their owner when the next one starts.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import random
import secrets
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from signal import SIGKILL

from embedded_servers import _process
from embedded_servers._home import usable
from embedded_servers._programs import seaweedfs_program
from embedded_servers.errors import ServerNotStarted

# At once, because an orderly end takes two seconds and this one loses nothing.
_STOP_STEPS = ((SIGKILL, 5.0),)
_START_SECONDS = 30.0
_ANSWER_SECONDS = 2.0
# Between choosing free ports and listening on them another process may take one.
_ATTEMPTS = 3

_PARTS = ("master", "volume", "filer", "s3", "admin")
# Each part's gRPC port is its port and 10,000. All of them lie below the ports that the kernel
# gives to connections, so that none is taken by chance.
_GRPC_OFFSET = 10_000
_PORTS = range(12_000, 22_000)

_SOCKETS = Path("/tmp")  # noqa: S108 - not our choice
# Before that, one that nobody answers at may be about to be listened on.
_DEAD_AFTER_SECONDS = 60.0
_SETTINGS = {
    "ip": "127.0.0.1",
    "ip.bind": "127.0.0.1",
    "master.telemetry": "false",
    "s3.autoCreateBucket": "false",
    "s3.iam": "false",
    "s3.port.iceberg": "0",
    "s3.port.lance": "0",
    "webdav": "false",
    "admin.ui": "false",
}
_ACTIONS = ("Admin", "Read", "Write", "List", "Tagging")


@dataclass(frozen=True)
class SeaweedFS:
    """Where an S3 server answers, and who it lets in."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    pid: int
    region: str = "us-east-1"

    def __str__(self) -> str:
        return self.endpoint


@asynccontextmanager
async def open_seaweedfs(folder: Path) -> AsyncIterator[SeaweedFS]:
    """Yield an S3 server that keeps everything in the folder.

    Raises EmbeddedServerError: its subclasses say what to do.
    """
    identity = _Identity(f"AK{secrets.token_hex(8)}", secrets.token_hex(20))
    _remove_dead_sockets()
    ports, server = await _start(_made(folder), identity)
    endpoint = f"http://127.0.0.1:{ports['s3']}"
    try:
        yield SeaweedFS(endpoint, identity.access_key, identity.secret_key, server.pid)
    finally:
        await _process.stop(server, steps=_STOP_STEPS)
        _remove_sockets(ports)


@dataclass(frozen=True)
class _Identity:
    access_key: str
    secret_key: str

    def configuration(self) -> str:
        credentials = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        one = {"name": "tests", "credentials": credentials, "actions": _ACTIONS}
        return json.dumps({"identities": [one]})

    def request(self) -> bytes:
        """A question that only a server which knows this identity answers with 200."""
        date = formatdate(usegmt=True)
        digest = hmac.digest(self.secret_key.encode(), f"GET\n\n\n{date}\n/".encode(), hashlib.sha1)
        signature = base64.b64encode(digest).decode()
        return (
            "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Date: {date}\r\nAuthorization: AWS {self.access_key}:{signature}\r\n\r\n"
        ).encode()


def _made(folder: Path) -> Path:
    with usable(folder):
        (folder / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder.absolute()


async def _start(
    folder: Path, identity: _Identity
) -> tuple[dict[str, int], "subprocess.Popen[bytes]"]:
    for _ in range(_ATTEMPTS - 1):
        ports = _free_ports()
        with suppress(ServerNotStarted):
            return ports, await _start_on(ports, folder, identity)
    ports = _free_ports()
    return ports, await _start_on(ports, folder, identity)


async def _start_on(
    ports: dict[str, int], folder: Path, identity: _Identity
) -> "subprocess.Popen[bytes]":
    log, configuration = folder / "seaweedfs.log", folder / "s3.json"
    with usable(folder):
        configuration.write_text(identity.configuration())
        configuration.chmod(0o600)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    own = {"dir": folder / "data", "s3.config": configuration}
    settings = _SETTINGS | own | {f"{part}.port": port for part, port in ports.items()}
    try:
        server = _process.spawn(
            (
                seaweedfs_program(),
                "mini",
                *(f"-{name}={value}" for name, value in settings.items()),
            ),
            account=_process.own_account(),
            last_signal=SIGKILL,
            log=descriptor,
        )
    finally:
        os.close(descriptor)
    try:
        await _answering(server, ports["s3"], identity, log)
    except BaseException:
        await _process.stop(server, steps=_STOP_STEPS)
        _remove_sockets(ports)
        raise
    return server


async def _answering(
    server: "subprocess.Popen[bytes]", port: int, identity: _Identity, log: Path
) -> None:
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while not await _knows(identity, port):
        late = asyncio.get_running_loop().time() > deadline
        if server.poll() is not None or late:
            raise _process.failure(ServerNotStarted, returncode=server.returncode, log=log)
        await asyncio.sleep(_process.POLL_SECONDS)


async def _knows(identity: _Identity, port: int) -> bool:
    """True if our server answers at the port: not one that took it before."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(identity.request())
                answer = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return b" 200 " in answer


def _free_ports() -> dict[str, int]:
    free = (port for port in random.sample(_PORTS, len(_PORTS)) if _are_free(port))
    return dict(zip(_PARTS, free, strict=False))


def _are_free(port: int) -> bool:
    try:
        for each in (port, port + _GRPC_OFFSET):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", each))
    except OSError:
        return False
    return True


def _remove_sockets(ports: dict[str, int]) -> None:
    for part, port in ports.items():
        for name in (f"{part}-{port}", f"{part}-grpc-{port + _GRPC_OFFSET}"):
            with suppress(OSError):
                (_SOCKETS / f"seaweedfs-{name}.sock").unlink(missing_ok=True)


def _remove_dead_sockets() -> None:
    before = time.time() - _DEAD_AFTER_SECONDS
    for path in _SOCKETS.glob("seaweedfs-*.sock"):
        with suppress(OSError):
            if path.stat().st_mtime < before and not _is_listened_on(path):
                path.unlink()


def _is_listened_on(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True
