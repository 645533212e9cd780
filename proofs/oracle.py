"""Tells what was lost or left over, from rows, files and answers, without the service's own fsck.

Every check has one question and lists what is wrong; nothing wrong is an empty list.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import re
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from embedded_servers.postgres import open_postgres
from media_proto import media_service_pb2 as pb

from proofs.ledger import Ledger
from tests.e2e.processes import Mediad, stub

_NAME = re.compile(r"([0-9a-f]{64})(?:\.([a-z0-9-]+)(?:\.([0-9a-f]{16}))?)?")
_BATCH = 100
_PATIENCE = (0, 2, 4, 8)
"""Jobs may be writing meanwhile: only what is still wrong after these seconds is."""
_JOBS_SECONDS = 60

_WAITING = """
select id::text from media where deleted_at is null and status <> 'completed'
"""
_STUCK = """
select id::text from media m
where deleted_at is null and status in ('pending', 'processing') and not exists (
    select from procrastinate_jobs j
    where j.args->>'media_id' = m.id::text and j.status in ('todo', 'doing'))
"""


@dataclasses.dataclass(slots=True)
class Findings:
    """Lists of what is wrong, by what it is. `wrong` counts them all."""

    lost: list[str] = dataclasses.field(default_factory=list)
    """Acknowledged uploads that are not there, whole and readable."""
    undead: list[str] = dataclasses.field(default_factory=list)
    """Acknowledged deletions that are still answered."""
    rows_without_bytes: list[str] = dataclasses.field(default_factory=list)
    bytes_without_rows: list[str] = dataclasses.field(default_factory=list)
    damaged: list[str] = dataclasses.field(default_factory=list)
    staged: list[str] = dataclasses.field(default_factory=list)
    stuck: list[str] = dataclasses.field(default_factory=list)
    """Media that wait for a job that does not exist."""

    @property
    def wrong(self) -> int:
        """How many things are wrong."""
        return sum(len(found) for found in dataclasses.astuple(self))

    def add(self, others: Findings) -> None:
        """Take in what was found at another time."""
        for field in dataclasses.fields(self):
            getattr(self, field.name).extend(getattr(others, field.name))

    def __str__(self) -> str:
        found = {name: value for name, value in dataclasses.asdict(self).items() if value}
        return ", ".join(f"{len(v)} {name} ({v[0]} …)" for name, v in found.items()) or "nothing"


async def judge(mediad: Mediad, ledger: Ledger, *, reading: int | None = None) -> Findings:
    """Everything, of a service that runs and that nobody else is writing to.

    `reading` bounds how many of the last uploads are read over HTTP; all are asked for and their
    originals hashed.
    """
    answered = Findings()
    await ask(mediad, ledger, answered, reading=reading)
    for wait in _PATIENCE:
        await asyncio.sleep(wait)
        await sweep(mediad)
        findings = Findings()
        async with open_database(mediad) as url:
            await compare(url, blob_folder(mediad), findings, ledger)
        if not findings.wrong:
            break
    findings.add(answered)
    return findings


async def answers(mediad: Mediad, ledger: Ledger, *, reading: int | None = None) -> Findings:
    """What a service does not answer as it should."""
    findings = Findings()
    await ask(mediad, ledger, findings, reading=reading)
    return findings


async def ask(
    mediad: Mediad, ledger: Ledger, findings: Findings, *, reading: int | None = None
) -> None:
    """Whether what was acknowledged is answered so, and its renditions are read."""
    async with mediad.channel() as channel, httpx.AsyncClient(timeout=30) as http:
        media, urls = stub(channel), []
        known = await _known(media, list(ledger.uploaded))
        for media_id, sha256 in ledger.held.items():
            answer = known.get(media_id)
            if answer is None or answer.sha256 != sha256:
                findings.lost.append(f"{media_id} is not answered")
            else:
                urls.append(answer.url)
        findings.undead += [media_id for media_id in ledger.deleted if media_id in known]
        for url in urls if reading is None else urls[max(0, len(urls) - reading) :]:
            status = (await http.get(url)).status_code
            if status != 200:
                findings.lost.append(f"{url} answers {status}")


async def _known(media: Any, ids: list[str]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for at in range(0, len(ids), _BATCH):
        request = pb.BatchGetMediaRequest(media_ids=ids[at : at + _BATCH])
        answer = await media.BatchGetMedia(request, timeout=30)
        known |= {one.media_id: one for one in answer.media}
    return known


async def sweep(mediad: Mediad) -> None:
    """Remove what nobody holds, at once."""
    swept = await asyncio.to_thread(mediad.command, "sweep", "--grace", "0")
    if swept.returncode:
        raise AssertionError(f"sweep failed: {swept.stderr[-2000:]}")


def open_database(mediad: Mediad) -> Any:
    """The database of a service, which may run or not."""
    return open_postgres(data_folder(mediad) / "postgres")


def blob_folder(mediad: Mediad) -> Path:
    """Where a service's bytes lie."""
    url = mediad.environment.get("MEDIAD_STORAGE_URL", "")
    return Path(url.removeprefix("file://")) if url else data_folder(mediad) / "blobs"


def data_folder(mediad: Mediad) -> Path:
    """Where a service keeps everything that has no URL."""
    return Path(mediad.environment["MEDIAD_DATA_DIR"])


async def compare(url: str, folder: Path, findings: Findings, ledger: Ledger) -> None:
    """Rows against files, and files against their hashes."""
    connection = await asyncpg.connect(url)
    try:
        blobs = await connection.fetch(
            "select encode(sha256, 'hex') as sha256, size_bytes from blobs"
        )
        made = await connection.fetch(
            "select encode(source, 'hex') as source, recipe_key, size_bytes, "
            "encode(checksum, 'hex') as checksum from renditions"
        )
        findings.stuck += [row["id"] for row in await connection.fetch(_STUCK)]
    finally:
        await connection.close()
    files = {path.name: path for path in _files(folder)}
    _compare_originals({row["sha256"]: row["size_bytes"] for row in blobs}, files, findings)
    _compare_renditions(
        {(r["source"], r["recipe_key"]): r["checksum"] for r in made}, files, findings
    )
    for sha256 in sorted(set(ledger.held.values()) - set(files)):
        findings.lost.append(f"the bytes of {sha256}")
    findings.staged += staged(folder)


def staged(folder: Path) -> list[str]:
    """What waits in staging."""
    staging = [path for path in (folder / "staging").rglob("*") if path.is_file()]
    return [str(path) for path in staging if path.name != "lock"]


def _files(folder: Path) -> list[Path]:
    kinds = (folder / "originals", folder / "renditions")
    return [path for kind in kinds for path in kind.rglob("*") if path.is_file()]


def _compare_originals(rows: dict[str, int], files: dict[str, Path], findings: Findings) -> None:
    findings.rows_without_bytes += sorted(set(rows) - set(files))
    for name, path in files.items():
        if "." in name:
            continue
        if name not in rows:
            findings.bytes_without_rows.append(name)
        elif path.stat().st_size != rows[name] or _hash(path) != name:
            findings.damaged.append(name)


def _compare_renditions(
    rows: dict[tuple[str, str], str], files: dict[str, Path], findings: Findings
) -> None:
    """A row without bytes is no finding: the rendition is made again when it is asked for."""
    for name, path in files.items():
        parsed = _NAME.fullmatch(name)
        if parsed and not parsed[2]:
            continue
        checksum = rows.get((parsed[1], parsed[2])) if parsed else None
        if parsed is None or checksum is None or not checksum.startswith(parsed[3] or ""):
            findings.bytes_without_rows.append(name)
        elif _hash(path) != checksum:
            findings.damaged.append(name)


def _hash(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


async def finished(mediad: Mediad) -> Findings:
    """Media that are still waiting when no job is left to do.

    What an outage parked is begun again first, as an operator would, and not in an hour.
    """
    await asyncio.to_thread(mediad.command, "jobs", "retry", "--all-failed")
    async with open_database(mediad) as url:
        has_settled = await settled(url)
        connection = await asyncpg.connect(url)
        try:
            waiting = await connection.fetch(_WAITING)
        finally:
            await connection.close()
    stuck = [row["id"] for row in waiting]
    return Findings(stuck=stuck if has_settled else [*stuck, "jobs that do not end"])


async def settled(url: str) -> bool:
    """Wait until no job is left to do; whether that came to pass."""
    connection = await asyncpg.connect(url)
    try:
        for _ in range(_JOBS_SECONDS * 5):
            if not await connection.fetchval(
                "select count(*) from procrastinate_jobs where status in ('todo', 'doing')"
            ):
                return True
            await asyncio.sleep(0.2)
    finally:
        await connection.close()
    return False
