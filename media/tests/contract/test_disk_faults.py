"""Disks that are full or fail, and processes that are killed, at every step of an upload."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from fakes import upload_process
from fakes.storages import Storage, Stored, delete, on_local_disk, put, read, sha256_of, some_bytes
from media_service.core.blobs import original_key
from media_service.core.errors import StorageFull
from media_service.infra.blobs.disk import open_disk
from media_service.infra.blobs.staging import open_local_staging

UPLOADED = Stored(original_key(sha256_of(upload_process.CONTENT)), content=upload_process.CONTENT)
needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not here: failing disks are not tested"
)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=60", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a full disk is not tested: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


async def test_a_full_disk_is_full_until_there_is_room(tiny_disk: Path) -> None:
    async with open_local_staging(tiny_disk) as checked, on_local_disk(tiny_disk) as storage:
        stored = await put(storage, some_bytes(700_000))

        with pytest.raises(StorageFull):
            await put(storage, some_bytes(700_000, seed=2))
        assert storage.staged_files() == 0
        (tiny_disk / "filler").write_bytes(bytes(shutil.disk_usage(tiny_disk).free))
        with pytest.raises(StorageFull):
            await checked.check()
        assert await read(storage, stored) == stored.content

        await delete(storage.blobs, [stored.key])
        await checked.check()
        other = await put(storage, some_bytes(600_000, seed=2))
        assert await read(storage, other) == other.content


async def put_many(storage: Storage, count: int) -> None:
    for number in range(count):
        await put(storage, bytes([number]))


async def test_a_disk_without_inodes_is_full(tiny_disk: Path) -> None:
    async with on_local_disk(tiny_disk) as storage:
        with pytest.raises(StorageFull):
            await put_many(storage, 60)

        assert storage.staged_files() == 0
        for key in [found.key async for found in storage.blobs.objects("originals/")]:
            await delete(storage.blobs, [key])
        await put(storage, bytes([0]))


class LostWrite(Exception):
    pass


async def test_a_failed_fsync_is_told_and_nothing_is_put(tmp_path: Path) -> None:
    lost: list[OSError] = []

    def note(error: OSError) -> NoReturn:
        lost.append(error)
        raise LostWrite

    reader, writer = os.pipe()  # what can't be fsynced
    with open_disk(on_lost_write=note) as disk, pytest.raises(LostWrite):
        await disk.run(disk.sync, writer)

    os.close(reader)
    os.close(writer)
    assert len(lost) == 1


@needs_strace
async def test_bytes_are_flushed_before_they_get_their_name_and_folders_after(
    tmp_path: Path,
) -> None:
    log = tmp_path / "trace"
    store = tmp_path / "store"
    process = await upload_process.started(
        store, "put", strace=("-y", "-o", str(log), "-e", "trace=fsync,rename,mkdir")
    )
    await process.communicate()

    steps = re.findall(r"(fsync|rename|mkdir)\((?:\d+<)?\"?([^\">,]+)", log.read_text())
    steps = [(call, path.removeprefix(str(store))) for call, path in steps]
    kind, first, second, _ = UPLOADED.key.split("/")
    own = next(path for call, path in steps if call == "rename")
    assert steps[steps.index(("fsync", own)) :] == [
        ("fsync", own),
        ("mkdir", f"/{kind}/{first}"),
        ("fsync", f"/{kind}"),
        ("mkdir", f"/{kind}/{first}/{second}"),
        ("fsync", f"/{kind}/{first}"),
        ("rename", own),
        ("fsync", f"/{kind}/{first}/{second}"),
    ]


async def check_after(folder: Path, output: bytes) -> None:
    """Whatever happened: acknowledged is readable, else at worst missing; a retry works."""
    async with on_local_disk(folder) as storage:
        await storage.staging.discard_abandoned()
        assert storage.staged_files() == 0
        keys = [found.key async for found in storage.blobs.objects("originals/")]
        if output == b"acknowledged\n" or keys:
            assert await read(storage, UPLOADED) == UPLOADED.content
        await put(storage, UPLOADED.content)
        assert await read(storage, UPLOADED) == UPLOADED.content
    assert list(folder.glob("staging/*")) == []


async def outcome(folder: Path, injection: str) -> tuple[int, bytes]:
    process = await upload_process.started(
        folder, "put", strace=("-o", os.devnull, "-e", f"inject={injection}")
    )
    output, errors = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in errors
    return process.returncode, output


# The fsyncs of the thread that stages: two folders, then the file; of the one that puts: two
# folders, then three. So the 3rd is the file's, the 4th and 5th are of folders around the rename.
FAULTS = {
    **{f"fsync:error=EIO:when={n}": (os.EX_IOERR, b"") for n in (1, 3, 4, 5)},
    **{f"fsync:signal=KILL:when={n}": (-signal.SIGKILL, b"") for n in (1, 3, 4, 5)},
    "fsync:error=ENOSPC:when=3": (os.EX_IOERR, b""),
    "rename:error=EIO": (0, b"StorageUnavailable\n"),
    "rename:error=ENOSPC": (0, b"StorageFull\n"),
    "rename:signal=KILL": (-signal.SIGKILL, b""),
    "mkdir:error=EDQUOT:when=3": (0, b"StorageFull\n"),
    "unlink:signal=KILL": (-signal.SIGKILL, b"acknowledged\n"),
}


@needs_strace
async def test_no_fault_at_any_step_loses_or_leaves_anything(tmp_path: Path) -> None:
    at_once = asyncio.Semaphore(os.cpu_count() or 1)

    async def check(number: int, fault: str, expected: tuple[int, bytes]) -> None:
        folder = tmp_path / str(number)
        async with at_once:
            found = await outcome(folder, fault)
        assert (fault, found) == (fault, expected)
        await check_after(folder, found[1])

    await asyncio.gather(*(check(n, *item) for n, item in enumerate(FAULTS.items())))
