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

_OPENER = Path(__file__).with_name("opener.py")
# What this process can import, its children can.
_ENVIRONMENT = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
_START_SECONDS = 15


@pytest.fixture(autouse=True)
def tidy_up(tmp_path: Path) -> Iterator[None]:
    """Remove what a test leaves on disk: a cluster takes 40 MB, and pytest would keep them all."""
    yield
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that was opened before; tests may kill what runs in it, but leave its files alone.

    Opening it takes a tenth of the time that a fresh one takes.
    """
    folder = tmp_path_factory.mktemp("used") / "pg"
    subprocess.run(
        [sys.executable, _OPENER, "postgres", folder],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=_ENVIRONMENT,
        check=True,
    )
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL for tests that only ask questions."""
    folder = tmp_path_factory.mktemp("asked") / "pg"
    with subprocess.Popen(
        [sys.executable, _OPENER, "postgres", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_ENVIRONMENT,
        text=True,
    ) as opener:
        assert opener.stdout is not None
        yield opener.stdout.readline().strip()
        opener.communicate()
    shutil.rmtree(folder)


@pytest.fixture
def own_folder(tmp_path: Path, folder: Path) -> Path:
    """A copy of that folder for tests that touch its files."""
    copy = tmp_path / "pg"
    subprocess.run(["cp", "--archive", "--sparse=always", folder, copy], check=True)
    return copy


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
        packages: Path | None = None,
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
            env=_ENVIRONMENT | ({} if packages is None else {"PYTHONPATH": str(packages)}),
        )
        openers.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(_START_SECONDS):
            url = (await process.stdout.readline()).decode().strip()
        assert url, "the opener failed; its output tells why"
        return process, url

    yield start
    await asyncio.gather(*(process.communicate(b"") for process in openers))
