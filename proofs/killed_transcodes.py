"""Workers die at every step of a transcode: one result is seen, and no half of one."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import psutil
from media_proto import media_service_pb2 as pb

from proofs.callers import Caller, calling
from proofs.flipped_bytes import until_done
from proofs.killed_workers import worker
from proofs.ledger import Ledger
from proofs.oracle import Findings, compare, settled
from proofs.outcomes import Outcome, Run
from proofs.stack import Stack, open_stack, running, sha256_of
from proofs.transcoder import STEPS
from tests.e2e.films import phone_film
from tests.e2e.processes import Mediad, upload_request

NAME = "killed transcodes"
ONE_RESULT = "I10: a film whose worker is killed is made once, and no half of it is ever read"
NOTHING_LEFT = "I11: no ffmpeg and no cell outlives its worker by 5 s"
_CHILDREN_SECONDS = 5.0
_READABLE = frozenset({HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE})
_QUICK = STEPS.index("50% of the stream") + 1
_RENDITIONS = {"full", "poster", "hls", "preview"}


def prove(run: Run) -> list[Outcome]:
    """Killed at each step, then done by another."""
    return asyncio.run(_proved(run))


async def _proved(run: Run) -> list[Outcome]:
    async with open_stack(run.folder) as stack:
        api = stack.mediad("api", MEDIAD_ROLES="grpc,http", MEDIAD_DELETE_GRACE_SECONDS="0")
        rescuer = stack.mediad("rescuer", MEDIAD_ROLES="worker,http")
        async with running(api), calling(api) as caller:
            scene = Scene(stack, caller, rescuer)
            steps = [_QUICK] if run.is_quick else list(range(1, len(STEPS) + 1))
            for step in steps:
                await scene.killed(step)
                run.progress(f"killed {STEPS[step - 1]}")
            if not run.is_quick:
                await scene.rescued()
            return scene.outcomes()


@dataclasses.dataclass(slots=True)
class Scene:
    """A service without a worker, workers that die, and one that comes to the rescue."""

    stack: Stack
    caller: Caller
    rescuer: Mediad
    ledger: Ledger = dataclasses.field(default_factory=Ledger)
    wrong: list[str] = dataclasses.field(default_factory=list)
    left: list[str] = dataclasses.field(default_factory=list)
    note: str = ""

    async def killed(self, step: int) -> None:
        """Upload a film, have a worker die at this step of it, and read what there is."""
        content = _another(phone_film(seconds=4, size="640x360"), step)
        request = upload_request(
            content, filename="clip.mov", content_type="", purpose=pb.POST_ATTACHMENT
        )
        uploaded = await self.caller.media.UploadMedia(request)
        self.ledger.uploaded[uploaded.media_id] = sha256_of(content)
        name = STEPS[step - 1]
        self.left += [f"{child} after {name}" for child in await self._died(step)]
        self.wrong += [f"{half} is half after {name}" for half in _half(self.stack)]
        known = await self.caller.get(uploaded.media_id)
        self.wrong += [f"{said} after {name}" async for said in self._unreadable(known)]

    async def rescued(self) -> None:
        """Another does what they left; then rows and files are compared."""
        begun = time.monotonic()
        async with running(self.rescuer):
            for media_id in self.ledger.uploaded:
                known = await until_done(self.caller, media_id)
                names = {rendition.name for rendition in known.renditions}
                if known.status != pb.COMPLETED or names != _RENDITIONS:
                    self.wrong.append(f"{media_id} is {known.status} with {names}")
            self.note = f"all done {time.monotonic() - begun:.0f} s after the last death"
            findings = Findings()
            await settled(self.stack.database_url)
            await compare(self.stack.database_url, self.stack.blobs, findings, self.ledger)
        self.wrong += [str(findings)] if findings.wrong else []
        self.wrong += [f"{half} is half" for half in _half(self.stack)]

    def outcomes(self) -> list[Outcome]:
        """What was found."""
        faults = acknowledged = len(self.ledger.uploaded)
        return [
            Outcome(
                proof=NAME,
                invariant=ONE_RESULT,
                faults=faults,
                acknowledged=acknowledged,
                losses=len(self.wrong),
                note=f"{self.wrong[:3] or ''} {self.note}".strip(),
            ),
            Outcome(
                proof=NAME,
                invariant=NOTHING_LEFT,
                faults=faults,
                losses=len(self.left),
                note=str(self.left[:3] or ""),
            ),
        ]

    async def _died(self, step: int) -> list[psutil.Process]:
        """Have a worker die at this step; which of its children outlive it by 5 s."""
        module = "proofs.transcoder"
        async with worker(self.stack, str(step), module=module) as (process, _):
            assert process.stdout
            told = await asyncio.wait_for(process.stdout.read(), 60)
        last_words = told.splitlines()[-1]
        children = [psutil.Process(pid) for pid in map(int, last_words.split()) if _lives(pid)]
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=_CHILDREN_SECONDS)
        return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    async def _unreadable(self, known: pb.MediaResponse) -> AsyncIterator[str]:
        """What is shown of a medium and can't be read whole."""
        for rendition in known.renditions:
            answer = await self.caller.http.get(rendition.url)
            is_right = answer.status_code == HTTPStatus.OK and (
                rendition.name == "hls" or len(answer.content) == rendition.size_bytes
            )
            if rendition.size_bytes and not is_right:
                yield f"{rendition.name} is shown and answers {answer.status_code}"
        answer = await self.caller.http.get(known.url)
        if answer.status_code not in _READABLE:
            yield f"its URL answers {answer.status_code}"


def _lives(pid: int) -> bool:
    with suppress(psutil.Error):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def _another(film: bytes, number: int) -> bytes:
    """The same film in other bytes: with a box at its end that players skip."""
    return film + (12).to_bytes(4, "big") + b"free" + number.to_bytes(4, "big")


def _half(stack: Stack) -> Iterator[str]:
    """Renditions under their names that are not what the names say."""
    return (file.name for file in stack.files("renditions") if not _is_whole(file))


def _is_whole(file: Path) -> bool:
    return hashlib.sha256(file.read_bytes()).hexdigest().startswith(file.name.split(".")[-1])
