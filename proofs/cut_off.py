"""I17: callers leave in the middle; nothing of what they began stays behind."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import grpc
import httpx
import psutil
from media_proto import media_service_pb2 as pb

from proofs.callers import PICTURE, Caller, authorized, calling
from proofs.ledger import distinct_pictures
from proofs.outcomes import Outcome, Run
from proofs.stack import Stack, open_stack, running
from tests.e2e.processes import Mediad, Served, upload_request
from tests.e2e.samples import noisy_picture
from tests.e2e.userd_process import Userd

INVARIANT = "I17: who leaves leaves nothing behind"
READING = "I17: nothing is read from the disk for who has left"
_BACK_SECONDS = 60.0
"""Ten are promised, on a machine that is not busy: what came whole before its caller left is stored
first. After a minute it is a leak."""
_AT_ONCE = 16
_CONNECTIONS = "select count(*) from pg_stat_activity where application_name ~ '^(media|user)d'"
_BUSY = f"{_CONNECTIONS} and state <> 'idle'"
_BOUNDARY = "cut-off"


def prove(run: Run) -> list[Outcome]:
    """Cut uploads, cancelled calls, deadlines of a millisecond; and cut downloads."""
    return asyncio.run(_proved(run))


async def _proved(run: Run) -> list[Outcome]:
    async with open_stack(run.folder) as stack:
        mediad = stack.mediad("one")
        users = stack.userd("users", mediad)
        async with running(mediad), running(users), calling(mediad) as caller:
            leaving = Leaving(stack, mediad, users, caller, run)
            found = [await leaving.outcome(kind) for kind in leaving.kinds()]
            found.append(await _downloads_cut(run, mediad, caller))
            return found


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """What a service holds that must be given back."""

    files: int
    connections: int
    busy: int
    staged: int

    def exceeds(self, before: Held) -> bool:
        """Whether anything is held that was not before. Pools may have grown a little."""
        more_files = self.files - before.files - max(0, self.connections - before.connections)
        return more_files > 4 or self.busy > 0 or self.staged > 0


@dataclasses.dataclass(slots=True)
class Leaving:
    """Callers that leave, and what the services hold before and after."""

    stack: Stack
    mediad: Mediad
    users: Userd
    caller: Caller
    run: Run

    def kinds(self) -> list[Callable[[bytes, random.Random], Awaitable[None]]]:
        """The ways to leave."""
        return [self.cut_stream, self.cut_form, self.cancelled_call, self.short_deadline]

    async def outcome(self, leave: Callable[[bytes, random.Random], Awaitable[None]]) -> Outcome:
        """Many leave in this way; how long until all is as it was."""
        times, chance = self.run.size(500, quick=20), self.run.chance
        contents = distinct_pictures(hash(leave.__name__) % 10_000, side=400)
        await self._warm_up()
        before, turns = await self._held(), asyncio.Semaphore(_AT_ONCE)

        async def left(content: bytes) -> None:
            async with turns:
                with suppress(grpc.aio.AioRpcError, httpx.TransportError, OSError):
                    await leave(content, chance)

        await asyncio.gather(*(left(next(contents)) for _ in range(times)))
        seconds, after = await self._back(before)
        self.run.progress(f"{leave.__name__}: {before} → {after}")
        lost = after.exceeds(before)
        return Outcome(
            proof="cut off",
            invariant=f"{INVARIANT}: {leave.__name__.replace('_', ' ')}",
            faults=times,
            losses=int(lost),
            note=f"{before} → {after}" if lost else f"as before after {seconds:.1f} s",
        )

    async def _warm_up(self) -> None:
        """Pools and channels are open before anything is counted."""
        content = noisy_picture(1)
        await asyncio.gather(*(self.caller.upload(content) for _ in range(_AT_ONCE)))
        async with httpx.AsyncClient(base_url=self.users.base_url) as http:
            for n in range(2):
                files = {"file": ("photo.jpg", content, "image/jpeg")}
                await http.post(PICTURE, files=files, headers=authorized(f"warm-{n}"))

    async def _back(self, before: Held) -> tuple[float, Held]:
        begun = asyncio.get_running_loop().time()
        while True:
            after, seconds = await self._held(), asyncio.get_running_loop().time() - begun
            if not after.exceeds(before) or seconds > _BACK_SECONDS:
                return seconds, after
            await asyncio.sleep(0.1)

    async def _held(self) -> Held:
        spools = self.users.folder / "data" / "uploads"
        return Held(
            files=_open_files(self.mediad) + _open_files(self.users),
            connections=await self.stack.count(_CONNECTIONS),
            busy=await self.stack.count(_BUSY),
            staged=len(self.stack.files("staging")) + len(_files(spools)),
        )

    async def cut_stream(self, content: bytes, chance: random.Random) -> None:
        """A streamed upload over gRPC, cancelled after some of its parts."""
        parts = chance.randrange(1, 20)
        cut = asyncio.Event()

        async def chunks() -> AsyncIterator[pb.UploadChunk]:
            fields = upload_request(b"")
            metadata = pb.UploadMetadata(
                filename=fields.filename, content_type=fields.content_type,
                user_id=fields.user_id, purpose=fields.purpose,
            )  # fmt: skip
            yield pb.UploadChunk(metadata=metadata)
            step = len(content) // 20 + 1
            for at in range(0, parts * step, step):
                yield pb.UploadChunk(data=content[at : at + step])
            cut.set()
            await asyncio.sleep(60)

        call = self.caller.media.UploadMediaStream(chunks())
        await cut.wait()
        await asyncio.sleep(chance.uniform(0, 0.02))
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call

    async def cut_form(self, content: bytes, chance: random.Random) -> None:
        """A form for the user service, its connection cut after some of its bytes."""
        disposition = 'Content-Disposition: form-data; name="file"; filename="a.jpg"'
        part = f"--{_BOUNDARY}\r\n{disposition}\r\nContent-Type: image/jpeg\r\n\r\n"
        body = part.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()
        token = authorized(f"leaver-{chance.randrange(10**9)}")["Authorization"]
        head = (
            f"POST {PICTURE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n"
            f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", self.users.http_port)
        # The last of them is whole: its caller leaves while the answer is being made.
        writer.write(head + body[: chance.randrange(1, len(body) + len(body) // 4)])
        await writer.drain()
        await asyncio.sleep(chance.uniform(0, 0.05))
        writer.transport.abort()

    async def cancelled_call(self, content: bytes, chance: random.Random) -> None:
        """An upload in one message, cancelled at any moment."""
        call = self.caller.media.UploadMedia(upload_request(content))
        await asyncio.sleep(chance.uniform(0, 0.08))
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call

    async def short_deadline(self, content: bytes, chance: random.Random) -> None:
        """An upload that may take a millisecond."""
        await self.caller.upload(content, timeout=0.001)


def _open_files(server: Served) -> int:
    return psutil.Process(server.pid).num_fds()


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


async def _downloads_cut(run: Run, mediad: Mediad, caller: Caller) -> Outcome:
    """Readers of something large leave after a piece; how much is read from the disk after that."""
    times = run.size(50, quick=3)
    request = upload_request(
        noisy_picture(5, size=(2000, 2000), format="PNG"),
        purpose=pb.POST_ATTACHMENT, content_type="image/png", filename="large.png",
        processing_options=pb.ProcessingOptions(quality=100),
    )  # fmt: skip
    url = (await caller.media.UploadMedia(request, timeout=60)).url
    body = (await caller.http.get(url)).raise_for_status().content
    target = httpx.URL(url)
    begun = _read_bytes(mediad)
    for _ in range(times):
        reader, writer = await asyncio.open_connection("127.0.0.1", mediad.http_port)
        asked = f"GET {target.raw_path.decode()} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        writer.write(asked.encode())
        await reader.readexactly(1000)
        writer.transport.abort()
    await asyncio.sleep(1)
    first = _read_bytes(mediad)
    await asyncio.sleep(2)
    still = _read_bytes(mediad) - first
    wrong = [f"{still} bytes read a second later"] if still > 512 * 1024 else []
    return Outcome(
        proof="cut off",
        invariant=READING,
        faults=times,
        losses=len(wrong),
        note=f"{wrong or ''} {(first - begun) // times // 1024} of {len(body) // 1024} KB read "
        "for each reader that left after 1 KB",
    )


def _read_bytes(server: Served) -> int:
    return int(psutil.Process(server.pid).io_counters().read_chars)
