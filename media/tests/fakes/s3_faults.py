"""Stands before an S3 server and answers wrongly, when it is told to."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit

from embedded_servers.seaweedfs import SeaweedFS

ERROR = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%s</Code>'
    b"<Message>told to</Message><RequestId>1</RequestId></Error>"
)
_STATUS = {b"InternalError": 500, b"SlowDown": 503, b"QuotaExceeded": 403, b"AccessDenied": 403,
           b"RequestTimeTooSkewed": 403, b"NoSuchBucket": 404}  # fmt: skip


class Fault(enum.Enum):
    """What goes wrong with a call."""

    INTERNAL_ERROR = b"InternalError"
    SLOW_DOWN = b"SlowDown"
    QUOTA = b"QuotaExceeded"
    DENIED = b"AccessDenied"
    SKEWED = b"RequestTimeTooSkewed"
    NO_BUCKET = b"NoSuchBucket"
    ERROR_IN_200 = "error in 200"
    """Not done, and told so in an answer that begins well."""

    DONE_BUT_ERROR_IN_200 = "done but error in 200"
    LOST_ANSWER = "lost answer"
    """Done, but nobody hears of it."""

    LATE = "late"
    """Nobody hears of it, and it is done when `catch_up` is called."""

    SILENCE = "silence"
    CUT = "cut"
    """The body's first half, then the end of the connection."""

    TRICKLE = "trickle"
    """One byte of the body, and then one each second."""

    WRONG_CHECKSUM = "wrong checksum"
    NO_CHECKSUM = "no checksum"
    FLIPPED = "flipped"
    """One bit of the body is another."""

    ABSENT = "absent"


@dataclasses.dataclass
class _Request:
    head: bytes
    body: bytes

    @property
    def operation(self) -> str:
        method, target, _ = self.head.split(b"\r\n", 1)[0].decode().split(" ")
        query = parse_qs(urlsplit(target).query, keep_blank_values=True)
        if method == "PUT":
            if "partNumber" in query:
                return "put_part"
            return "copy" if b"x-amz-copy-source" in self.head.lower() else "put"
        if method == "POST":
            named = {"uploads": "create_upload", "uploadId": "complete_upload", "delete": "delete"}
            return next(named[name] for name in named if name in query)
        if method == "GET":
            return "list" if "list-type" in query else "get"
        return {"DELETE": "abort_upload", "HEAD": "head"}[method]


class FaultyS3:
    """Carries calls to the server, but for those with a fault: `faults[operation]`, so often."""

    def __init__(self, server: SeaweedFS) -> None:
        self._behind = urlsplit(server.endpoint)
        self._server = server
        self.server = server
        self.faults: dict[str, tuple[Fault, int]] = {}
        self.seen: Counter[str] = Counter()
        self.given_bytes = 0
        self._late: list[_Request] = []
        self._held: set[asyncio.Task[None]] = set()

    def fail(self, operation: str, fault: Fault, *, times: int = 1_000_000) -> None:
        """Have the next calls of this kind go wrong."""
        self.faults[operation] = (fault, times)

    async def catch_up(self) -> None:
        """Do what was late."""
        for request in self._late:
            await self._forward(request)
        self._late.clear()

    def at(self, port: int) -> None:
        """Where it listens."""
        self.server = dataclasses.replace(self._server, endpoint=f"http://127.0.0.1:{port}")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one call and close the connection."""
        task = asyncio.current_task()
        assert task
        self._held.add(task)
        task.add_done_callback(self._held.discard)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._serve(reader, writer)
        writer.close()

    def close(self) -> None:
        """End what is still being served."""
        for task in self._held:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"expect: 100-continue" in head.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = _Request(head, await reader.readexactly(_length(head)))
        operation = request.operation
        self.seen[operation] += 1
        fault, times = self.faults.get(operation, (None, 0))
        if fault and times:
            self.faults[operation] = (fault, times - 1)
            await self._go_wrong(fault, request, writer)
        else:
            answer = await self._forward(request)
            self.given_bytes += len(answer)
            writer.write(answer)
        await writer.drain()

    async def _go_wrong(
        self, fault: Fault, request: _Request, writer: asyncio.StreamWriter
    ) -> None:
        if isinstance(fault.value, bytes):
            writer.write(_answer(_STATUS[fault.value], ERROR % fault.value))
        elif fault is Fault.ABSENT:
            writer.write(_answer(404, b""))
        elif fault is Fault.SILENCE:
            await asyncio.Event().wait()
        elif fault is Fault.LATE:
            self._late.append(request)
        elif fault is Fault.ERROR_IN_200:
            writer.write(_answer(200, ERROR % b"InternalError"))
        else:
            await self._spoil(fault, await self._forward(request), writer)

    async def _spoil(self, fault: Fault, answer: bytes, writer: asyncio.StreamWriter) -> None:
        head, end, body = answer.partition(b"\r\n\r\n")
        if fault is Fault.DONE_BUT_ERROR_IN_200:
            writer.write(_answer(200, ERROR % b"InternalError"))
        elif fault is Fault.CUT:
            writer.write(head + end + body[: len(body) // 2])
        elif fault is Fault.FLIPPED:
            writer.write(head + end + bytes([body[0] ^ 1]) + body[1:])
        elif fault is Fault.WRONG_CHECKSUM:
            writer.write(_without_checksum(head) + b"\r\nx-amz-checksum-sha256: AAAA" + end + body)
        elif fault is Fault.NO_CHECKSUM:
            writer.write(_without_checksum(head) + end + body)
        elif fault is Fault.TRICKLE:
            writer.write(head + end)
            for at in range(len(body)):
                writer.write(body[at : at + 1])
                await writer.drain()
                await asyncio.sleep(1)

    async def _forward(self, request: _Request) -> bytes:
        reader, writer = await asyncio.open_connection(self._behind.hostname, self._behind.port)
        lines = request.head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        kept = [n for n in lines if not n.lower().startswith((b"connection:", b"expect:"))]
        writer.write(b"\r\n".join([*kept, b"Connection: close"]) + b"\r\n\r\n" + request.body)
        try:
            return await reader.read()
        finally:
            writer.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def _without_checksum(head: bytes) -> bytes:
    lines = head.split(b"\r\n")
    return b"\r\n".join(n for n in lines if not n.lower().startswith(b"x-amz-checksum-"))


def _answer(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} Told\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


@asynccontextmanager
async def open_faulty_s3(server: SeaweedFS) -> AsyncIterator[FaultyS3]:
    """One before this server; `faulty.server` is where to find it."""
    faulty = FaultyS3(server)
    listener = await asyncio.start_server(faulty.serve, "127.0.0.1", 0, limit=2**20)
    faulty.at(listener.sockets[0].getsockname()[1])
    try:
        yield faulty
    finally:
        listener.close()
        faulty.close()
