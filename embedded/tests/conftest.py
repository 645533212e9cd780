"""Opening a server in another process."""

import asyncio
import os
import shutil
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

import embedded_servers

_OPENER = Path(__file__).with_name("opener.py")
_PACKAGES = Path(embedded_servers.__file__).parents[1]
_START_SECONDS = 15


@pytest.fixture(autouse=True)
def tidy_up(tmp_path: Path) -> Iterator[None]:
    """Remove what a test leaves on disk: a cluster takes 40 MB, and pytest would keep them all."""
    yield
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="session")
def used_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that a PostgreSQL was opened in once."""
    folder = tmp_path_factory.mktemp("used") / "pg"
    subprocess.run(
        [sys.executable, _OPENER, "postgres", folder],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={"PATH": os.defpath, "PYTHONPATH": str(_PACKAGES)},
        check=True,
    )
    return folder


@pytest.fixture
def folder(tmp_path: Path, used_folder: Path) -> Path:
    """A copy of a used folder: opening it takes a tenth of the time that a fresh one takes."""
    subprocess.run(["cp", "--archive", used_folder, tmp_path / "pg"], check=True)
    return tmp_path / "pg"


@pytest.fixture
async def open_elsewhere() -> AsyncIterator[Callable[..., Awaitable[tuple[Process, str]]]]:
    """Run `opener.py` and return its process and the URL it prints.

    Closing the process's standard input makes it leave.
    """
    openers: list[Process] = []

    async def start(
        kind: str,
        folder: Path,
        *,
        python: str = sys.executable,
        opener: Path = _OPENER,
        packages: Path = _PACKAGES,
        user: int | None = None,
    ) -> tuple[Process, str]:
        process = await asyncio.create_subprocess_exec(
            *(python, opener, kind, folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            cwd="/",
            env={"PATH": os.defpath, "PYTHONPATH": str(packages)},
        )
        openers.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(_START_SECONDS):
            url = (await process.stdout.readline()).decode().strip()
        assert url, "the opener failed; its output tells why"
        return process, url

    yield start
    for process in openers:
        if process.returncode is None:
            process.kill()
        await process.wait()
