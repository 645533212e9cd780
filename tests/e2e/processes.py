"""Real processes of the services, driven from outside only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Self, TypeAlias

import grpc
from media_proto import media_service_pb2 as pb
from media_proto import media_service_pb2_grpc as pb_grpc

START_SECONDS = 60
MESSAGE_BYTES = 101 * 1024 * 1024
_PORTS = iter(random.sample(range(8_500, 12_000), 3_500))
"""None that the system or SeaweedFS takes: what is killed and started again finds its own free."""


def free_port() -> int:
    """A port nobody listens on; until we end, no other process of tests is given it."""
    return next(port for port in _PORTS if _is_claimed(port) and _is_free(port))


def _is_claimed(port: int) -> bool:
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0mediad-tests-{port}")
    except OSError:
        claim.close()
        return False
    claim.detach()  # open for as long as we are here
    return True


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
        return True
    return False


class Served:
    """One service as a process. Its folder, ports and settings outlive kills and restarts."""

    module: ClassVar[str]
    prefix: ClassVar[str]
    """What the names of its settings begin with."""
    launcher: tuple[str, ...] = ()
    """A program that serves the service in its own place, such as a tracer."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.http_port = free_port()
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def is_started(self) -> bool:
        return self._process is not None

    @property
    def status(self) -> int | None:
        """How the process ended; None while it runs."""
        assert self._process
        return self._process.poll()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(self.prefix)}
        own = {f"{self.prefix}DATA_DIR": str(self.folder / "data")}
        return {**kept, **own, f"{self.prefix}PORT": str(self.http_port), **self._settings}

    def start(self) -> None:
        """Start and wait until it is ready."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self.launcher, sys.executable, "-m", self.module, "serve"],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self) -> None:
        """Return when it serves; fails with its log if it does not."""
        assert self._process
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise AssertionError(f"{self.module} did not start:\n{self.log[-3000:]}")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(urllib.request.urlopen(f"{self.base_url}/readyz", timeout=2).status == 200)
        return False

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of the service with the same settings."""
        return subprocess.run(
            [sys.executable, "-m", self.module, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def kill(self) -> None:
        """As a power cut of the process: kill -9."""
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self, *, timeout: float = 30) -> int:
        """SIGTERM; its exit status."""
        assert self._process
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout)

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        self.start()
        try:
            yield self
        finally:
            self.stop()


class Mediad(Served):
    """One `mediad serve`."""

    module = "media_service"
    prefix = "MEDIAD_"

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, **settings)
        self.grpc_port = free_port()

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"MEDIAD_GRPC_PORT": str(self.grpc_port)}

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(
            f"127.0.0.1:{self.grpc_port}",
            options=[("grpc.max_send_message_length", MESSAGE_BYTES)],
        )


Stub: TypeAlias = "pb_grpc.MediaServiceAsyncStub"


def stub(channel: grpc.aio.Channel) -> Stub:
    return pb_grpc.MediaServiceStub(channel)


def upload_request(data: bytes, **fields: object) -> pb.UploadMediaRequest:
    """An upload of a profile picture by `alice`, unless said otherwise."""
    given: dict[str, object] = {
        "data": data,
        "filename": "photo.jpg",
        "content_type": "image/jpeg",
        "user_id": "alice",
        "purpose": pb.PROFILE_PICTURE,
    }
    return pb.UploadMediaRequest(**(given | fields))  # type: ignore[arg-type]


async def completed(media: Stub, media_id: str) -> pb.MediaResponse:
    """The medium, once the work on it is done."""
    for _ in range(800):
        known = await media.GetMedia(pb.GetMediaRequest(media_id=media_id))
        if known.status == pb.COMPLETED:
            return known
        await asyncio.sleep(0.05)
    raise AssertionError(f"{media_id} is still {pb.ProcessingStatus.Name(known.status)}")
