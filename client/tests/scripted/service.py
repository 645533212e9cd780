"""A gRPC server on a real socket that answers as a test scripts it, garbage included."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from media_proto import media_service_pb2 as pb

Context = grpc.aio.ServicerContext[Any, Any]
MEDIA_ID = "0198c0de-0000-7000-8000-000000000000"
NOON = Timestamp(seconds=1_900_000_000)


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """One attempt as it arrived. `messages` are those of a stream, or one."""

    rpc: str
    metadata: dict[str, str]
    peer: str
    messages: list[bytes] = dataclasses.field(default_factory=list)


Step = Callable[["Attempt"], Awaitable[bytes]]


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """What a step of the script has at hand."""

    seen: Seen
    messages: AsyncIterator[bytes]
    context: Context

    async def read_all(self) -> None:
        async for message in self.messages:
            self.seen.messages.append(message)


def _answer(rpc: str) -> Message:
    shared: dict[str, Any] = {"media_id": MEDIA_ID, "url": "https://x/full", "created_at": NOON}
    return {
        "UploadMedia": pb.UploadMediaResponse(**shared),
        "UploadMediaStream": pb.UploadMediaResponse(**shared),
        "GetMedia": pb.MediaResponse(**shared, updated_at=NOON),
        "WatchMedia": pb.MediaResponse(**shared, updated_at=NOON, status=pb.COMPLETED),
        "DeleteMedia": pb.DeleteMediaResponse(),
        "ProcessMedia": pb.ProcessMediaResponse(media_id=MEDIA_ID, status=pb.PENDING),
        "GetSignedUrl": pb.GetSignedUrlResponse(url="https://x/full?sig=1", expires_at=NOON),
        "BatchGetMedia": pb.BatchGetMediaResponse(missing_ids=[MEDIA_ID]),
        "BatchDeleteMedia": pb.BatchDeleteMediaResponse(deleted_count=1),
    }[rpc]


async def succeed(attempt: Attempt) -> bytes:
    """Read everything and answer as if it were done."""
    await attempt.read_all()
    return _answer(attempt.seen.rpc).SerializeToString()


def refuse(
    status: grpc.StatusCode,
    *,
    reason: str = "",
    domain: str = "media",
    sentence: str = "A sentence.",
    retry_seconds: float | None = None,
) -> Step:
    """Abort as the service does, with its code if a reason is given."""
    details: list[Message] = []
    if reason:
        details.append(
            error_details_pb2.ErrorInfo(
                reason=reason, domain=domain, metadata={"request_id": "from-the-service"}
            )
        )
    if retry_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(retry_seconds * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))

    async def step(attempt: Attempt) -> bytes:
        packed = [any_pb2.Any() for _ in details]
        for each, detail in zip(packed, details, strict=True):
            each.Pack(detail)
        rich = status_pb2.Status(code=status.value[0], message=sentence, details=packed)
        trailing = (("grpc-status-details-bin", rich.SerializeToString()),) if details else ()
        await attempt.context.abort(status, sentence, trailing)
        raise AssertionError

    return step


def answer(message: Message | bytes) -> Step:
    """Answer with this, whatever was asked."""

    async def step(attempt: Attempt) -> bytes:
        await attempt.read_all()
        return message if isinstance(message, bytes) else message.SerializeToString()

    return step


async def hang(_attempt: Attempt) -> bytes:
    """Never answer."""
    await asyncio.sleep(3600)
    raise AssertionError


class ScriptedService:
    """Serves `script` step by step, then succeeds for ever; `seen` is all that arrived."""

    def __init__(self, *, options: Sequence[tuple[str, int]] = ()) -> None:
        self.options = options
        self.script: deque[Step] = deque()
        self.seen: list[Seen] = []
        self.cancelled = 0
        self.address = ""
        self.server: grpc.aio.Server | None = None

    def then(self, *steps: Step) -> ScriptedService:
        self.script.extend(steps)
        return self

    def uploaded(self, at: int = -1) -> bytes:
        """The bytes of a streamed upload that arrived."""
        return b"".join(pb.UploadChunk.FromString(m).data for m in self.seen[at].messages[1:])

    def about(self, at: int = -1) -> pb.UploadMetadata:
        """What was said of a streamed upload that arrived."""
        return pb.UploadChunk.FromString(self.seen[at].messages[0]).metadata

    @asynccontextmanager
    async def running(
        self, *, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None
    ) -> AsyncIterator[ScriptedService]:
        await self.start(address=address, credentials=credentials)
        try:
            yield self
        finally:
            await self.stop()

    async def start(
        self, *, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None
    ) -> None:
        self.server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", 8 << 20),
                ("grpc.so_reuseport", 0),
                *self.options,
            ]
        )
        names = [m.name for m in pb.DESCRIPTOR.services_by_name["MediaService"].methods]
        handlers = {name: self._handler(name) for name in names}
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("media.MediaService", handlers),)
        )
        if credentials:
            port = self.server.add_secure_port(address, credentials)
        else:
            port = self.server.add_insecure_port(address)
        self.address = f"127.0.0.1:{port}"
        await self.server.start()

    async def stop(self) -> None:
        assert self.server
        await self.server.stop(None)

    def _handler(self, name: str) -> Any:
        async def serve(request: Any, context: Context) -> bytes:
            return await self._serve(name, request, context)

        async def watch(request: Any, context: Context) -> None:
            if last := await self._serve(name, request, context):
                await context.write(last)

        if name == "WatchMedia":
            return grpc.unary_stream_rpc_method_handler(watch)
        if name == "UploadMediaStream":
            return grpc.stream_unary_rpc_method_handler(serve)
        return grpc.unary_unary_rpc_method_handler(serve)

    async def _serve(self, name: str, request: Any, context: Context) -> bytes:
        metadata = {k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)}
        seen = Seen(name, metadata, context.peer())
        self.seen.append(seen)
        if isinstance(request, bytes):
            seen.messages.append(request)
        messages = _none() if isinstance(request, bytes) else _each(request)
        step = self.script.popleft() if self.script else succeed
        try:
            return await step(Attempt(seen, messages, context))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def _none() -> AsyncIterator[bytes]:
    return
    yield b""


async def _each(requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same; a stream that a step does not look at is never begun."""
    async for request in requests:
        yield request
