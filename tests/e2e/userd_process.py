"""A real process of the user service, driven from outside only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.processes import Mediad, free_port

START_SECONDS = 60


class Userd:
    """One `userd serve`. Its folder, port and settings outlive kills and restarts."""

    def __init__(self, folder: Path, media: Mediad, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._media = media
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("USERD_")}
        return {
            **kept,
            "USERD_DATA_DIR": str(self.folder / "data"),
            "USERD_PORT": str(self.port),
            "USERD_MEDIA_ADDRESS": f"127.0.0.1:{self._media.grpc_port}",
            "USERD_MEDIA_PUBLIC_URL": self._media.base_url,
            **self._settings,
        }

    def start(self) -> None:
        """Start and wait until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "user_service", "serve"],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"userd did not start:\n{self.log}")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(urllib.request.urlopen(f"{self.base_url}/readyz", timeout=2).status == 200)
        return False

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another `userd` command with the same settings."""
        return subprocess.run(
            [sys.executable, "-m", "user_service", *arguments],
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
    def running(self) -> Iterator[Userd]:
        self.start()
        try:
            yield self
        finally:
            self.stop()
