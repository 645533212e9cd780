"""I8 and I9: bytes are damaged behind the service's back; wrong ones are never served."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import httpx
from media_proto import media_service_pb2 as pb

from proofs.callers import Caller, calling
from proofs.outcomes import Outcome, Run
from proofs.stack import Stack, open_stack, running, sha256_of
from tests.e2e.processes import upload_request
from tests.e2e.samples import flip_a_byte, noisy_picture

WRONG_BYTES = "I9: bytes that are not what they were are never served"
REPAIR = "I8: uploading the same bytes again heals every reference"
_RANGES = 3
_REFERENCES = 5
_DONE = (pb.COMPLETED, pb.FAILED)
_SAMPLES = (
    ("JPEG", "image/jpeg", (300, 200)),
    ("PNG", "image/png", (200, 120)),
    ("WEBP", "image/webp", (240, 160)),
    ("JPEG", "image/jpeg", (2000, 1500)),
)
"""Small ones, which are remembered in memory, and one whose `full` is larger than a megabyte."""


def prove(run: Run) -> list[Outcome]:
    """Flips at random offsets of originals and renditions; then ruined originals are healed."""
    return asyncio.run(_proved(run))


async def _proved(run: Run) -> list[Outcome]:
    samples = _SAMPLES[:: 1 if not run.is_quick else 3]
    async with open_stack(run.folder) as stack:
        mediad = stack.mediad("one", MEDIAD_DELETE_GRACE_SECONDS="0")
        async with running(mediad), calling(mediad) as caller:
            subjects = [
                await subject_of(caller, stack, noisy_picture(n, size=size, format=format), type)
                for n, (format, type, size) in enumerate(samples)
            ]
            flips = run.size(200, quick=12)
            flipped = Flipping(caller, stack, run.chance)
            for number in range(flips):
                await flipped.flip(subjects[number % len(subjects)])
                if number % 50 == 49:
                    run.progress(f"flip {number + 1} of {flips}")
            healing = await _healed(caller, stack, subjects)
    return [
        Outcome(
            proof="flipped bytes",
            invariant=WRONG_BYTES,
            faults=flips,
            acknowledged=flipped.right,
            losses=len(flipped.wrong),
            note="; ".join(flipped.wrong[:3])
            or f"{flipped.right} right answers, {flipped.refused} errors or cut streams, 0 wrong",
        ),
        healing,
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """A medium, the bytes it came from, and every body it is read as."""

    media_id: str
    content: bytes
    content_type: str
    original: Path
    bodies: dict[str, bytes]
    """By URL."""

    def renditions(self, stack: Stack) -> list[Path]:
        """Their files, as they are called now."""
        name = self.original.name
        return [f for f in stack.files("renditions") if f.name.startswith(name)]


async def subject_of(
    caller: Caller, stack: Stack, content: bytes, content_type: str, *, waits: bool = True
) -> Subject:
    """Upload, wait until it is developed (unless no worker is there), and read all of it."""
    request = upload_request(content, content_type=content_type, filename="")
    media_id = (await caller.media.UploadMedia(request, timeout=30)).media_id
    known = await (until_done(caller, media_id) if waits else caller.get(media_id))
    urls = [known.url, *(t.url for t in known.thumbnails)]
    bodies = {url: (await caller.http.get(url)).raise_for_status().content for url in urls}
    return Subject(media_id, content, content_type, stack.original(content), bodies)


async def until_done(caller: Caller, media_id: str) -> pb.MediaResponse:
    """The medium, when its job is over."""
    for _ in range(600):
        known = await caller.get(media_id)
        if known.status in _DONE:
            return known
        await asyncio.sleep(0.1)
    raise AssertionError(f"{media_id} is never done")


@dataclasses.dataclass(slots=True)
class Flipping:
    """Flips bytes, reads, and counts how it was answered."""

    caller: Caller
    stack: Stack
    chance: random.Random
    right: int = 0
    refused: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)

    async def flip(self, subject: Subject) -> None:
        """Flip a byte of one file, read everything, and put an original right again."""
        damaged = self.chance.choice([subject.original, *subject.renditions(self.stack)])
        flip_a_byte(damaged, at=self.chance.randrange(damaged.stat().st_size))
        if damaged == subject.original:
            await self._develop_anew(subject)
            await self.caller.uploaded(subject.content, user="who-heals")
        await asyncio.gather(*(self._read(url, subject.bodies[url]) for url in subject.bodies))
        known = await self.caller.get(subject.media_id)
        if known.sha256 != sha256_of(subject.content):
            self.wrong.append(f"{subject.media_id} is answered with another hash")

    async def _develop_anew(self, subject: Subject) -> None:
        """Nothing may be made of a damaged original: its renditions go, and are asked for."""
        for rendition in subject.renditions(self.stack):
            rendition.unlink()
        url = self.chance.choice(list(subject.bodies))
        await self._read(url, subject.bodies[url])

    async def _read(self, url: str, body: bytes) -> None:
        await self._judge(url, {}, body, status=200)
        for _ in range(_RANGES):
            start = self.chance.randrange(len(body))
            end = self.chance.randrange(start, len(body))
            part = body[start : end + 1]
            await self._judge(url, {"Range": f"bytes={start}-{end}"}, part, status=206)

    async def _judge(self, url: str, headers: dict[str, str], due: bytes, *, status: int) -> None:
        try:
            answer = await self.caller.http.get(url, headers=headers)
        except httpx.TransportError:  # cut short
            self.refused += 1
            return
        if answer.status_code >= 500:
            self.refused += 1
        elif (answer.status_code, answer.content) == (status, due):
            self.right += 1
        else:
            what = f"{url} {headers} answered {answer.status_code}, {len(answer.content)} bytes"
            self.wrong.append(what)


async def _healed(caller: Caller, stack: Stack, subjects: list[Subject]) -> Outcome:
    """Ruin originals in several ways; after the next upload every reference is read."""
    wrong: list[str] = []
    for subject in subjects:
        for ruin in (removed, truncated, flip_a_byte):
            wrong += await heal(caller, stack, subject, ruin=ruin)
    return Outcome(
        proof="flipped bytes",
        invariant=REPAIR,
        faults=3 * len(subjects),
        acknowledged=3 * len(subjects) * _REFERENCES,
        losses=len(wrong),
        note="; ".join(wrong[:3]) or "original removed, cut short, flipped; renditions removed",
    )


async def heal(
    caller: Caller, stack: Stack, subject: Subject, *, ruin: Callable[[Path], None]
) -> list[str]:
    """Ruin an original that several hold, upload it again; the media that are not read then."""

    async def upload(user: str) -> str:
        request = upload_request(
            subject.content, content_type=subject.content_type, filename="", user_id=user
        )
        return str((await caller.media.UploadMedia(request, timeout=30)).media_id)

    references = [await upload(f"holder-{n}") for n in range(_REFERENCES - 1)]
    for rendition in subject.renditions(stack):
        rendition.unlink()
    ruin(subject.original)
    references.append(await upload("healer"))
    return [
        f"{media_id} is not readable after {ruin.__name__}"
        for media_id in (*references, subject.media_id)
        if not await _is_read(caller.get(media_id), caller, set(subject.bodies.values()))
    ]


async def _is_read(asked: Awaitable[pb.MediaResponse], caller: Caller, due: set[bytes]) -> bool:
    try:
        known = await asked
    except grpc.aio.AioRpcError:
        return False
    answer = await caller.http.get(known.url)
    return answer.status_code == 200 and answer.content in due


def removed(file: Path) -> None:
    """The file is gone."""
    file.unlink()


def truncated(file: Path) -> None:
    """Half of the file is gone."""
    os.truncate(file, file.stat().st_size // 2)
