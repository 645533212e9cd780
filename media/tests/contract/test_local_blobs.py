"""What a local disk adds: power cuts, dead processes, full and failing disks, memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import stat
from array import array
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes import upload_process
from fakes.storages import (
    LARGE,
    SMALL,
    Stored,
    copied,
    delete,
    on_local_disk,
    put,
    read,
    sha256_of,
    some_bytes,
)
from media_service.core.blobs import new_label, original_key
from media_service.core.errors import MediaDamaged, StorageUnavailable
from media_service.infra.blobs.local import open_local_blobs
from media_service.infra.blobs.staging import open_local_staging
from media_service.infra.blobs.verified import (
    PIECE_BYTES,
    RecentBytes,
    Stamp,
    Verdicts,
    Wanted,
)

PIECES = array("I", [1, 2, 3])


@contextlib.asynccontextmanager
async def holding(folder: Path) -> AsyncIterator[Process]:
    """A process that has a file staged."""
    process = await upload_process.started(folder, "hold")
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"staged\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def staged_by_others(folder: Path) -> list[Path]:
    return [path for path in folder.glob("staging/*/*") if path.name != "lock"]


async def test_only_what_dead_processes_staged_is_discarded(tmp_path: Path) -> None:
    async with holding(tmp_path) as killed, holding(tmp_path), open_local_staging(tmp_path) as own:
        assert len(staged_by_others(tmp_path)) == 2
        assert await own.discard_abandoned() == 0

        killed.kill()
        await killed.wait()

        assert await own.discard_abandoned() == 1
        assert len(staged_by_others(tmp_path)) == 1
        assert len(list(tmp_path.glob("staging/*"))) == 2  # the living one's, and our own
        assert await own.discard_abandoned() == 0


async def test_a_process_that_ends_leaves_nothing(tmp_path: Path) -> None:
    async with holding(tmp_path) as process:
        await process.communicate(b"")

        assert list(tmp_path.glob("staging/*")) == []


async def test_starting_while_others_sweep_is_safe(tmp_path: Path) -> None:
    async with open_local_staging(tmp_path) as sweeper:
        is_over = False

        async def sweep() -> None:
            while not is_over:
                await sweeper.discard_abandoned()

        async def start() -> None:
            for _ in range(50):
                async with open_local_staging(tmp_path) as staging, staging.new() as staged:
                    await staged.write(b"x")
                    await asyncio.sleep(0)
                    assert staged.path.read_bytes() == b"x"

        sweeps = [asyncio.create_task(sweep()) for _ in range(3)]
        await asyncio.gather(*(start() for _ in range(4)))
        is_over = True
        await asyncio.gather(*sweeps)

    assert list(tmp_path.glob("staging/*")) == []


async def test_a_half_made_or_foreign_folder_does_not_stop_a_sweep(tmp_path: Path) -> None:
    async with open_local_staging(tmp_path) as staging:
        (tmp_path / "staging" / ("a" * 16)).mkdir()  # killed before it made its lock file
        (tmp_path / "staging" / ("b" * 16)).write_bytes(b"a file where folders are")
        abandoned = tmp_path / "staging" / ("c" * 16)
        (abandoned / "folder").mkdir(parents=True)
        (abandoned / "link").symlink_to("/etc/passwd")
        (tmp_path / "staging" / "foreign").mkdir()

        assert await staging.discard_abandoned() == 2

        assert not abandoned.exists()
        assert (tmp_path / "staging" / "foreign").exists()
        assert Path("/etc/passwd").exists()


async def test_nobody_else_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    async with on_local_disk(folder) as storage:
        await put(storage, b"x")
        async with storage.staging.new() as staged:
            await staged.write(b"y")

            modes = {
                (path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in folder.rglob("*")
            }

    assert modes == {(True, 0o700), (False, 0o600)}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_file_put_in_the_place_of_a_staged_one_is_absorbed(tmp_path: Path) -> None:
    async with on_local_disk(tmp_path) as storage:
        async with storage.staging.new() as staged:
            await staged.write(b"placeholder")
            other = tmp_path / "other"
            other.write_bytes(b"rendered")
            other.rename(staged.path)
            await staged.absorb()
            assert staged.sha256 == sha256_of(b"rendered")
            stored = Stored(original_key(staged.sha256), b"rendered")
            await storage.blobs.put(stored.key, staged)

        assert await read(storage, stored) == b"rendered"
        assert stat.S_IMODE((tmp_path / stored.key).stat().st_mode) == 0o600


async def test_a_link_in_the_place_of_a_staged_file_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    async with open_local_staging(tmp_path) as staging, staging.new() as staged:
        staged.path.unlink()
        with pytest.raises(StorageUnavailable):
            await staged.absorb()

        staged.path.symlink_to(secret)
        with pytest.raises(StorageUnavailable):
            await staged.absorb()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_flush_that_nobody_waits_for_ends_before_its_file_is_closed(
    tmp_path: Path,
) -> None:
    open_before = open_files()
    async with open_local_staging(tmp_path) as staging:
        for _ in range(20):
            async with staging.new() as staged:
                await staged.write(some_bytes(SMALL))
                flushing = asyncio.create_task(staged.flush())
                writing = asyncio.create_task(staged.write(some_bytes(LARGE)))
                await asyncio.sleep(0)
            # Each either finished first, or found the file closed: none touched another's.
            for outcome in await asyncio.gather(flushing, writing, return_exceptions=True):
                assert outcome is None or isinstance(outcome, ValueError)

    assert open_files() == open_before


async def test_reading_leaves_no_file_open(tmp_path: Path) -> None:
    open_before = open_files()
    async with on_local_disk(tmp_path) as storage:
        stored = await put(storage, some_bytes(LARGE))
        for turns in range(200):
            task = asyncio.create_task(read(storage, stored))
            for _ in range(turns % 8):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    assert open_files() == open_before


async def test_a_small_blob_is_served_from_memory_but_copied_from_disk(tmp_path: Path) -> None:
    async with on_local_disk(tmp_path) as storage:
        stored = await put(storage, some_bytes(SMALL))
        await read(storage, stored)

        storage.lay(stored.key, None)

        assert await read(storage, stored) == stored.content
        with pytest.raises(MediaDamaged):
            async with storage.blobs.local_copy(stored.key, size_bytes=SMALL, sha256=stored.sha256):
                pass


async def test_memory_holds_no_more_than_it_may(tmp_path: Path) -> None:
    async with (
        open_local_blobs(tmp_path, memory_bytes=2 * SMALL) as blobs,
        on_local_disk(tmp_path) as other,
    ):
        kept = [await put(other, some_bytes(SMALL, seed)) for seed in range(3)]

        async def served(stored: Stored) -> bool:
            try:
                async with blobs.open(stored.key, size_bytes=SMALL, sha256=stored.sha256):
                    return True
            except MediaDamaged:
                return False

        assert [await served(stored) for stored in kept] == [True] * 3
        for stored in kept:
            other.lay(stored.key, None)

        assert [await served(stored) for stored in kept] == [False, True, True]


def read_from_files() -> int:
    """How many bytes this process has read so far."""
    found = re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())
    assert found
    return int(found[1])


async def test_a_large_blob_is_hashed_once(tmp_path: Path) -> None:
    async with on_local_disk(tmp_path) as storage:
        stored = await put(storage, some_bytes(LARGE))
        costs = []
        for _ in range(3):
            before = read_from_files()
            await asyncio.gather(*(read(storage, stored, 0, 1000) for _ in range(5)))
            costs.append(read_from_files() - before)

    pieces = 5 * PIECE_BYTES + 100_000
    assert LARGE <= costs[0] < LARGE + pieces
    assert max(costs[1:]) < pieces


def flip(file: Path, *, at: int) -> None:
    """One bit of the file is another from now on."""
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    with file.open("r+b") as opened:
        opened.write(content)


async def test_rot_that_leaves_no_trace_on_the_file_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = some_bytes(LARGE)
    async with on_local_disk(tmp_path) as storage:
        stored = await put(storage, content)
        same = Stamp(1, 2, 3, 4, 5)
        monkeypatch.setattr(Stamp, "of", classmethod(lambda *_: same))
        await read(storage, stored, 0, LARGE)
        flip(tmp_path / stored.key, at=PIECE_BYTES + 5)

        assert await read(storage, stored, 10, 1000) == content[10:1010]
        for start, length in ((PIECE_BYTES, 1), (PIECE_BYTES - 5, 9), (0, LARGE)):
            with pytest.raises(MediaDamaged):
                await read(storage, stored, start, length)


async def test_what_others_will_read_is_hashed_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = some_bytes(LARGE)
    async with on_local_disk(tmp_path) as storage:
        stored = await put(storage, content)
        same = Stamp(1, 2, 3, 4, 5)
        monkeypatch.setattr(Stamp, "of", classmethod(lambda *_: same))
        await read(storage, stored, 0, LARGE)
        flip(tmp_path / stored.key, at=0)

        with pytest.raises(MediaDamaged):
            async with copied(storage, stored):
                pass


def test_nothing_is_believed_for_longer_than_an_hour() -> None:
    now = 0.0
    wanted, stamp = Wanted("key", 1, sha256_of(b"x")), Stamp(1, 2, 3, 4, 5)
    recent, verdicts = (
        RecentBytes(max_bytes=10, clock=lambda: now),
        Verdicts(max_entries=10, clock=lambda: now),
    )
    recent.remember(wanted, b"x", drops=recent.drops)
    verdicts.remember(wanted, stamp, PIECES)

    now = 3599.0
    assert recent.get(wanted) is not None
    assert verdicts.pieces(wanted, stamp) == PIECES

    now = 3601.0
    assert recent.get(wanted) is None
    assert not verdicts.pieces(wanted, stamp)


def test_what_was_read_before_a_drop_is_not_remembered() -> None:
    recent, wanted = RecentBytes(max_bytes=10, clock=lambda: 0.0), Wanted("key", 1, sha256_of(b"x"))
    drops = recent.drops
    recent.drop("key")

    assert recent.remember(wanted, b"x", drops=drops).content == b"x"

    assert recent.get(wanted) is None


def test_verdicts_are_bounded_and_name_the_file() -> None:
    verdicts = Verdicts(max_entries=2, clock=lambda: 0.0)
    wanted = Wanted("key", 1, sha256_of(b"x"))
    stamps = [Stamp(1, inode, 3, 4, 5) for inode in range(3)]
    for stamp in stamps:
        verdicts.remember(wanted, stamp, PIECES)

    assert [verdicts.pieces(wanted, stamp) for stamp in stamps] == [None, PIECES, PIECES]
    assert not verdicts.pieces(Wanted("key", 1, sha256_of(b"y")), stamps[2])
    assert not verdicts.pieces(Wanted("other", 1, wanted.sha256), stamps[2])


async def test_a_disk_that_is_not_mounted_is_unavailable_and_not_damaged(tmp_path: Path) -> None:
    async with on_local_disk(tmp_path) as storage:
        stored = await put(storage, some_bytes(SMALL))
        (tmp_path / "originals").rename(tmp_path / "unmounted")

        with pytest.raises(StorageUnavailable):
            await read(storage, stored)
        with pytest.raises(StorageUnavailable):
            await put(storage, some_bytes(SMALL, seed=2))
        assert not (tmp_path / "originals").exists()

        (tmp_path / "unmounted").rename(tmp_path / "originals")
        assert await read(storage, stored) == stored.content


async def test_a_folder_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    async with on_local_disk(tmp_path) as storage:
        stored = await put(storage, b"x")
        await delete(storage.blobs, [stored.key])
        shutil.rmtree((tmp_path / stored.key).parents[1])

        with pytest.raises(StorageUnavailable):
            await put(storage, b"x")
        await put(storage, b"x")

        assert await read(storage, stored) == b"x"


async def test_what_is_no_file_of_ours_stands_in_nobodys_way(tmp_path: Path) -> None:
    label, source = new_label("fsck", datetime.now(UTC)), "ab" * 32
    inner = tmp_path / "originals/ab/ab"
    async with open_local_blobs(tmp_path) as blobs:
        (inner / source).mkdir(parents=True)
        (inner / ("abab" + "c" * 60)).symlink_to("/nowhere")
        (tmp_path / "originals/cd").write_bytes(b"a file where a folder should be")
        (tmp_path / f"trash/{label}.{source}").mkdir()
        for folder in (inner, tmp_path / "trash"):
            (folder / "two\nlines").touch()
            (folder / os.fsdecode(b"\xff\xfe")).touch()
        (tmp_path / f"trash/{label}.{'cd' * 32}").touch()

        assert [found async for found in blobs.objects("originals/")] == []
        assert await blobs.labels() == [label]
        assert await blobs.empty_trash(before=datetime.now(UTC) + timedelta(days=1)) == 1

    assert (tmp_path / f"trash/{label}.{source}").is_dir()
    assert len(list((tmp_path / "trash").iterdir())) == 3
