"""Many large uploads at once in little memory: none is killed, all get through."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import io
import random
import shutil
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import numpy as np
from media_client import MediaClient, Purpose
from media_client.errors import Limited, Unavailable
from PIL import Image

from proofs import oracle
from proofs.ledger import Ledger
from proofs.outcomes import CannotRun, Outcome, Run, require_root
from proofs.power_cuts import end
from tests.e2e.processes import Mediad

_GROUPS = Path("/sys/fs/cgroup/memory")
_MEGABYTE = 1024**2
_CHUNK_BYTES = 256 * 1024
_SECONDS = 1500.0
_PNG_HEAD_BYTES = 33
"""The signature and the first chunk: others may follow."""


def prove(run: Run) -> list[Outcome]:
    """Upload large pictures, all at once, to services whose memory is bounded."""
    sizes = ((512, 6),) if run.is_quick else ((1024, 64), (512, 32))
    side = run.size(5700, quick=2800)
    body = _noise(run.seed, side)
    return [_bounded(run, body, megabytes=limit, count=count) for limit, count in sizes]


def _bounded(run: Run, body: bytes, *, megabytes: int, count: int) -> Outcome:
    """So many uploads to a service that has, with its database and cell, so much memory."""
    folder = run.folder / str(megabytes)
    with memory_group(f"{run.folder.name}-{megabytes}", megabytes=megabytes) as group:
        mediad = Mediad(folder, MEDIAD_CELLS="1")
        mediad.launcher = ("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh")
        try:
            mediad.start()
            outcome = asyncio.run(_uploading(run, mediad, group, body, count))
        finally:
            end(mediad)
    shutil.rmtree(folder)
    return dataclasses.replace(outcome, proof=f"memory, {megabytes} MB")


@contextlib.contextmanager
def memory_group(name: str, *, megabytes: int) -> Iterator[Path]:
    """A control group whose processes have so much memory together. Raises CannotRun."""
    require_root()
    if not (_GROUPS / "memory.limit_in_bytes").exists():
        raise CannotRun("no memory controller of control groups (version 1) here")
    group = _GROUPS / name
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(megabytes * _MEGABYTE))
        yield group
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


class Load:
    """So many uploads of one picture, each made another file, all at once."""

    def __init__(self, run: Run, mediad: Mediad, body: bytes, count: int) -> None:
        self.ledger = Ledger()
        self.refusals = 0
        self.resting = self.peak = _resident(mediad)
        self._run = run
        self._mediad = mediad
        self._body = body
        self._count = count

    async def pass_by(self) -> None:
        """Upload all, until they are through or the service is dead."""
        address = f"127.0.0.1:{self._mediad.grpc_port}"
        async with MediaClient(address, channels=8, upload_timeout=_SECONDS) as client:
            uploads = asyncio.gather(*(self._upload(client, n) for n in range(self._count)))
            while not uploads.done() and self._mediad.status is None:
                self.peak = max(self.peak, _resident(self._mediad))
                await asyncio.sleep(0.1)
            uploads.cancel()
            await asyncio.gather(uploads, return_exceptions=True)

    async def _upload(self, client: MediaClient, number: int) -> None:
        head, hasher = _marked(self._body, number), hashlib.sha256()
        hasher.update(head)
        hasher.update(memoryview(self._body)[_PNG_HEAD_BYTES:])
        while True:
            try:
                stored = await client.upload_media_stream(
                    _pieces(head, self._body),
                    filename="noise.png",
                    user_id="alice",
                    purpose=Purpose.MESSAGE_ATTACHMENT,
                    timeout=_SECONDS,
                )
                break
            except (Limited, Unavailable) as refusal:
                self.refusals += 1
                await asyncio.sleep(random.uniform(0.5, 2) + (refusal.retry_after or 0))
        self.ledger.uploaded[stored.media_id] = hasher.hexdigest()
        self.refusals += await _read(stored.url)
        through = f"{len(self.ledger.uploaded)}/{self._count}"
        self._run.progress(f"{through}, at most {self.peak} MB resident")


async def _uploading(run: Run, mediad: Mediad, group: Path, body: bytes, count: int) -> Outcome:
    load = Load(run, mediad, body, count)
    await load.pass_by()
    killed, uploaded = _oom_kills(group), len(load.ledger.uploaded)
    if mediad.status is not None:  # everything else is known only of a service that runs
        mediad.start()
    findings = await oracle.judge(mediad, load.ledger, reading=4)
    return Outcome(
        proof="memory",
        invariant=f"{count} uploads of {len(body) // 10**6} MB at once: no process is killed",
        faults=count,
        acknowledged=uploaded,
        losses=findings.wrong + killed + count - uploaded,
        note=f"killed for memory: {killed}; refused and tried again: {load.refusals}; the serving "
        f"process: {load.resting} MB at rest, {load.peak} MB at most; wrong: {findings}",
    )


async def _read(url: str) -> int:
    """Read what is made of it, as soon as it may be; how often that was refused."""
    async with httpx.AsyncClient(timeout=300) as http:
        for refused in range(100):
            answer = await http.get(url)
            if answer.status_code == 200:
                return refused
            await asyncio.sleep(float(answer.headers.get("retry-after", 1)))
    raise AssertionError(f"it answers {answer.status_code}")


def _noise(seed: int, side: int) -> bytes:
    """A PNG that no compression makes smaller."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def _marked(body: bytes, number: int) -> bytes:
    """The head of the PNG, with a text chunk that makes it another file."""
    kind, text = b"tEXt", b"Comment\0%d" % number
    checksum = zlib.crc32(kind + text).to_bytes(4, "big")
    return body[:_PNG_HEAD_BYTES] + len(text).to_bytes(4, "big") + kind + text + checksum


async def _pieces(head: bytes, body: bytes) -> AsyncIterator[bytes]:
    yield head
    for start in range(_PNG_HEAD_BYTES, len(body), _CHUNK_BYTES):
        yield body[start : start + _CHUNK_BYTES]


def _resident(mediad: Mediad) -> int:
    """Memory of the serving process alone, in MB."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{mediad.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) // 1024
    return 0


def _oom_kills(group: Path) -> int:
    """How many processes of the group were killed because there was no memory for them."""
    for line in (group / "memory.oom_control").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0
