"""I9 where it is hardest: the disk rots under a file system that notices nothing."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from proofs.callers import Caller, calling
from proofs.flipped_bytes import Subject, subject_of
from proofs.outcomes import Outcome, Run, require, require_root
from proofs.stack import Stack, open_stack, running
from tests.e2e.samples import noisy_picture

INVARIANT = "I9: rot below the file system, within the hour of a verdict, is not served"
_IMAGE_BYTES = 256 * 1024 * 1024
_FIBMAP, _FIGETBSZ = 1, 2
_ENOUGH_BYTES = 1024 * 1024


def prove(run: Run) -> list[Outcome]:
    """Flip bytes of a large rendition in the image of a mounted disk: no time or size tells."""
    require_root()
    require("mkfs.ext4", "mount", "umount")
    image, folder = run.folder / "disk.img", run.folder / "disk"
    with _mounted(image, folder):
        return [asyncio.run(_proved(run, image, folder))]


@contextmanager
def _mounted(image: Path, folder: Path) -> Iterator[None]:
    folder.mkdir()
    with image.open("wb") as opened:
        opened.truncate(_IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


async def _proved(run: Run, image: Path, folder: Path) -> Outcome:
    flips = run.size(40, quick=2)
    seen: dict[str, int] = {}
    async with open_stack(run.folder) as stack:
        mediad = stack.mediad("one", MEDIAD_STORAGE_URL=f"file://{folder}/blobs")
        async with running(mediad), calling(mediad) as caller:
            subject = await subject_of(
                caller, stack, noisy_picture(9, size=(2000, 1500)), "image/jpeg"
            )
            for _ in range(flips):
                rotten = _large(folder / "blobs", stack, subject)
                at = _flip_below(image, rotten, run.chance)
                for said in await _read(caller, subject, at=at, chance=run.chance):
                    seen[said] = seen.get(said, 0) + 1
    return Outcome(
        proof="rot",
        invariant=INVARIANT,
        faults=flips,
        acknowledged=seen.get("right", 0),
        losses=seen.get("wrong", 0),
        note=", ".join(f"{n} {said}" for said, n in sorted(seen.items())),
    )


def _large(blobs: Path, stack: Stack, subject: Subject) -> Path:
    """The rendition that is not kept in memory."""
    files = (f for f in (blobs / "renditions").rglob("*") if f.is_file())
    [large] = [f for f in files if f.stat().st_size > _ENOUGH_BYTES]
    return large


def _flip_below(image: Path, file: Path, chance: random.Random) -> int:
    """Change one byte of the file on its disk and let the kernel forget it; where that was."""
    at = chance.randrange(file.stat().st_size)
    before = file.stat()
    os.sync()
    with file.open("rb") as opened:
        [block_bytes] = struct.unpack("i", fcntl.ioctl(opened, _FIGETBSZ, struct.pack("i", 0)))
        place = struct.pack("i", at // block_bytes)
        [block] = struct.unpack("i", fcntl.ioctl(opened, _FIBMAP, place))
        with image.open("r+b") as disk:
            disk.seek(block * block_bytes + at % block_bytes)
            [byte] = disk.read(1)
            disk.seek(-1, os.SEEK_CUR)
            disk.write(bytes([byte ^ 0x10]))
            disk.flush()
            os.fsync(disk.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        opened.seek(at)
        assert opened.read(1) == bytes([byte ^ 0x10]), "the flip is not seen"
    after = file.stat()
    assert (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)
    return at


async def _read(caller: Caller, subject: Subject, *, at: int, chance: random.Random) -> list[str]:
    """What a range over the flip, and then everything, is answered with."""
    url, body = next((u, b) for u, b in subject.bodies.items() if len(b) > _ENOUGH_BYTES)
    start, end = max(0, at - chance.randrange(1000)), min(len(body) - 1, at + 1000)
    ranged = {"Range": f"bytes={start}-{end}"}
    return [
        await _judged(caller, url, ranged, body[start : end + 1]),
        await _judged(caller, url, {}, body),
    ]


async def _judged(caller: Caller, url: str, headers: dict[str, str], due: bytes) -> str:
    try:
        answer = await caller.http.get(url, headers=headers)
    except httpx.TransportError:
        return "cut"
    if answer.status_code >= 500:
        return "refused"
    return "right" if answer.content == due else "wrong"
