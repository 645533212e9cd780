"""A whole service on PostgreSQL and a disk: broken by hand, set right by its own means."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from fakes.pictures import jpeg_with_exif, picture, scene
from fakes.samples import ALICE, BOB, a_declaration
from fakes.service import in_chunks
from media_service.composition import open_media_service
from media_service.config import Settings
from media_service.core.auditing import Allowance, AuditReport, TooManyLosses
from media_service.core.audits import Difference
from media_service.core.errors import MediaDamaged
from media_service.core.media import Media, Purpose, Visibility
from media_service.core.service import MediaService

pytestmark = pytest.mark.needs_postgres
EVERYTHING = Allowance(count=10**9)
LONG_AGO = 10**9
CANARY = b"canary-3f1c9a77e2d84b06-in-here"


@dataclasses.dataclass(frozen=True)
class Running:
    """A service, and what it stands on, for tests to break."""

    service: MediaService
    url: str
    folder: Path

    async def sql(self, query: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetch(query, *values)
        finally:
            await connection.close()

    async def upload(self, content: bytes, **declared: Any) -> Media:
        uploading = self.service.uploading
        return await uploading.upload(a_declaration(**declared), in_chunks(content))

    async def upload_done(self, content: bytes, **declared: Any) -> Media:
        media = await self.upload(content, **declared)
        await self.service.processing.run(media.id, revision=1)
        await self.sql("delete from procrastinate_jobs")
        return await self.service.reading.get(media.id)

    def files(self) -> dict[str, bytes]:
        """What is stored, by key."""
        kinds = ("originals", "renditions")
        found = (path for kind in kinds for path in (self.folder / kind).rglob("*"))
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in found
            if path.is_file()
        }

    def key(self, media: Media, kind: str = "originals") -> str:
        return next(key for key in self.files() if key.startswith(kind) and media.sha256 in key)

    def lay(self, key: str, content: bytes) -> None:
        (self.folder / key).write_bytes(content)

    async def compare(self, *, deep: bool = False) -> AuditReport:
        for path in self.files():  # nothing is young
            os.utime(self.folder / path, (LONG_AGO, LONG_AGO))
        return await self.service.auditing.compare(deep=deep)

    async def read(self, media: Media) -> bytes:
        version = media.renditions[0].recipe.version
        delivering = self.service.delivering
        delivery = await delivering.find(media.id, "full", version=version, signature=None)
        async with delivering.open(delivery) as (_, blob):
            return b"".join([piece async for piece in blob.read(0, blob.size_bytes)])


@asynccontextmanager
async def _open(url: str, folder: Path, **settings: Any) -> AsyncIterator[Running]:
    chosen = Settings(
        data_dir=folder / "data",
        database_url=url,
        storage_url=f"file://{folder}/blobs",
        cells=1,
        **settings,
    )
    async with open_media_service(chosen) as opened:
        yield Running(opened.service, url, folder / "blobs")


@pytest.fixture
async def running(database_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with _open(database_url, tmp_path) as running:
        yield running


def _pictures(count: int) -> Iterator[bytes]:
    return (picture(pixels=scene(160, 120, seed=seed, noise=0.2)) for seed in range(count))


async def test_what_was_broken_by_hand_is_found_exactly_and_set_right(running: Running) -> None:
    whole, missing, flipped, thin = [await running.upload_done(each) for each in _pictures(4)]
    stuck = await running.upload(next(_pictures(9)), owner=BOB, purpose=Purpose.POST_ATTACHMENT)
    await running.sql("delete from procrastinate_jobs")
    await running.sql(
        "update media set updated_at = now() - interval '2 hours' where id = $1", stuck.id
    )
    await running.sql(
        "update blobs set state = 'condemned', condemned_at = now() where sha256 = $1",
        bytes.fromhex(whole.sha256),
    )
    lost, rotten = running.key(missing), running.key(flipped)
    gone = running.key(thin, "renditions")
    (running.folder / lost).unlink()
    content = running.files()[rotten]
    running.lay(rotten, content[:-1] + bytes([content[-1] ^ 1]))
    (running.folder / gone).unlink()
    orphan = f"originals/ab/ab/{'ab' * 32}"
    (running.folder / orphan).parent.mkdir(parents=True)
    running.lay(orphan, b"nobody's")

    report = await running.compare(deep=True)

    assert report.examples == {
        Difference.MISSING_ORIGINAL: [lost],
        Difference.WRONG_ORIGINAL: [rotten],
        Difference.MISSING_RENDITION: [gone],
        Difference.ORPHANED_OBJECT: [orphan],
        Difference.CONDEMNED_BUT_HELD: [running.key(whole)],
        Difference.FORGOTTEN_MEDIA: [stuck.id],
    }

    await running.service.auditing.repair(report, allowance=EVERYTHING, deep=True)

    assert report.repaired == report.found
    again = await running.compare(deep=True)
    assert set(again.found) == {Difference.MISSING_ORIGINAL, Difference.WRONG_ORIGINAL}
    assert await running.service.auditing.undo(report.label) == [orphan]
    assert running.files()[orphan] == b"nobody's"
    [_, missing_bytes, flipped_bytes, _] = _pictures(4)
    for each in (missing_bytes, flipped_bytes):
        await running.upload(each, owner=BOB)
    (running.folder / orphan).unlink()
    assert (await running.compare(deep=True)).found == {}
    assert await running.read(thin)


async def test_an_upload_of_the_same_bytes_heals_what_failed_because_of_damage(
    running: Running,
) -> None:
    [content] = _pictures(1)
    media = await running.upload(content)
    running.lay(running.key(media), b"rotten")
    with pytest.raises(MediaDamaged):
        await running.read(media)
    await running.service.processing.give_up(media.id, revision=1, code="media_damaged")
    await running.sql("delete from procrastinate_jobs")
    [blob] = await running.sql("select damaged_at from blobs")
    assert blob["damaged_at"]

    await running.upload(content, owner=BOB)

    jobs = await running.sql("select args ->> 'media_id' as id from procrastinate_jobs")
    assert media.id in {job["id"] for job in jobs}
    await running.service.processing.run(media.id, revision=2)
    assert (await running.service.reading.get(media.id)).status == "completed"
    assert await running.read(media)
    assert (await running.sql("select damaged_at from blobs"))[0]["damaged_at"] is None


async def test_an_older_database_over_newer_blobs_and_the_reverse(running: Running) -> None:
    """By copies of the tables, as a dump would have them."""
    await running.upload_done(next(_pictures(1)))
    tables = ("blobs", "media", "renditions")
    for table in tables:
        await running.sql(f"create table old_{table} as select * from {table}")
    older_files = shutil.copytree(running.folder, running.folder.with_name("older"))
    for each in list(_pictures(6))[1:]:
        await running.upload_done(each)
    newer = running.files()
    for table in tables:
        await running.sql(f"create table new_{table} as select * from {table}")

    async def restore_rows(age: str) -> None:
        await running.sql("delete from media")
        await running.sql("delete from blobs")
        for table in tables:
            await running.sql(f"insert into {table} select * from {age}_{table}")

    try:
        await restore_rows("old")
        report = await running.compare()
        assert report.found == {Difference.ORPHANED_OBJECT: 5 * 5}
        with pytest.raises(TooManyLosses):
            await running.service.auditing.repair(report, allowance=Allowance(count=24, part=0.5))
        assert running.files() == newer
        await running.service.auditing.repair(report, allowance=EVERYTHING)
        assert len(running.files()) == 5
        await running.service.housekeeping.sweep(grace=timedelta(0))
        await running.service.auditing.undo(report.label)
        assert running.files() == newer

        await restore_rows("new")
        assert (await running.compare(deep=True)).found == {}
        for kind in ("originals", "renditions"):
            shutil.rmtree(running.folder / kind)
            shutil.copytree(older_files / kind, running.folder / kind)
        report = await running.compare()
        assert report.found == {Difference.MISSING_ORIGINAL: 5, Difference.MISSING_RENDITION: 20}
        await running.service.auditing.repair(report, allowance=EVERYTHING)
        assert len(await running.sql("select from media where deleted_at is null")) == 6
        assert len(await running.sql("select from blobs where damaged_at is not null")) == 5
    finally:
        for age in ("old", "new"):
            for table in tables:
                with contextlib.suppress(asyncpg.UndefinedTableError):
                    await running.sql(f"drop table {age}_{table}")


async def _no_canary(running: Running) -> None:
    """Neither in the store, nor in any row of any table."""
    grep = subprocess.run(
        ["grep", "-rlaF", CANARY.decode(), running.folder.parent], capture_output=True, check=False
    )
    assert grep.stdout == b""
    tables = await running.sql("select tablename from pg_tables where schemaname = 'public'")
    for table in (row["tablename"] for row in tables):
        rows = await running.sql(f"select t::text as row from {table} t")
        for row in rows:
            assert CANARY.decode() not in row["row"]
            assert CANARY.hex() not in row["row"]
            assert ALICE not in row["row"].split(",")


async def test_nothing_of_an_erased_user_is_found_anywhere(running: Running) -> None:
    planted = jpeg_with_exif(b"Exif\0\0II*\0" + CANARY)
    media = await running.upload_done(planted, filename=f"{CANARY.decode()}.jpg")
    assert any(CANARY in content for content in running.files().values())
    shared = list(_pictures(2))
    await running.upload_done(shared[0], idempotency_key=CANARY.decode())
    private = await running.upload_done(shared[1], visibility=Visibility.PRIVATE)
    tombstone = await running.upload_done(next(_pictures(1)), purpose=Purpose.STORY)
    await running.service.deleting.delete(tombstone.id, user=ALICE)
    kept = await running.upload_done(shared[1], owner=BOB)
    orphans = await running.compare()
    assert orphans.found == {}

    erased = [each async for each in running.service.erasing.erase(ALICE)]

    assert {each.media_id for each in erased if each.shared} == {private.id}
    assert not any(each.left for each in erased)
    assert any(media.id in path for each in erased for path in each.paths)
    await _no_canary(running)
    assert {row["owner"] for row in await running.sql("select owner from media")} == {BOB}
    assert all(kept.sha256 in key for key in running.files())
    assert await running.read(kept)


async def test_a_sweep_whose_connection_is_cut_between_setting_aside_and_commit(
    running: Running,
) -> None:
    """While the same bytes are uploaded again: nothing acknowledged is lost."""
    [content] = _pictures(1)
    media = await running.upload_done(content)
    await running.service.deleting.delete(media.id, user=ALICE)
    over, acknowledged, cuts = asyncio.Event(), [], 0

    async def sweep() -> None:
        while not over.is_set():
            await running.service.housekeeping.sweep(grace=timedelta(0))

    async def cut() -> None:
        nonlocal cuts
        connection = await asyncpg.connect(running.url)
        while not over.is_set():
            cuts += len(
                await connection.fetch(
                    "select pg_terminate_backend(pid) from pg_stat_activity where "
                    "datname = current_database() and pid <> pg_backend_pid() "
                    "and (query like 'delete from blobs%' or query ilike 'commit%')"
                )
            )
            await asyncio.sleep(0)
        await connection.close()

    async def upload_and_delete() -> None:
        for round_ in range(300):
            if round_ >= 12 and cuts >= 3:
                break
            with contextlib.suppress(Exception):
                kept = await running.upload(content, owner=f"user{round_}")
                acknowledged.append(kept)
                if round_ % 2:
                    await running.service.deleting.delete(kept.id, user=kept.owner)
        over.set()

    await asyncio.gather(sweep(), cut(), upload_and_delete())
    await running.service.housekeeping.sweep(grace=timedelta(0))

    assert cuts
    live = await running.sql("select id from media where deleted_at is null")
    digests = {hashlib.sha256(found).hexdigest() for found in running.files().values()}
    assert not live or media.sha256 in digests
    report = await running.compare(deep=True)
    assert Difference.MISSING_ORIGINAL not in report.found
    assert Difference.UNFINISHED_DELETION not in report.found
    assert acknowledged
