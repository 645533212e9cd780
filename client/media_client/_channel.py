"""The way to the service over gRPC: channels, what goes along with calls, single attempts."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from media_proto import media_service_pb2 as pb

from media_client._context import trace_headers
from media_client._errors import WRITE_FAILED, translated
from media_client._transport import UPLOAD_MEDIA_STREAM, AnswerT, Call, RequestT, Rpc
from media_client.errors import BadAnswer, Unavailable

_SERVICE = pb.DESCRIPTOR.services_by_name["MediaService"].full_name
_SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
_SCHEME = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds|passthrough):(?!\d+$)")
_AWAY = frozenset({grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN})
_PATIENCE_SECONDS = 1.5
"""How long a call waits for an address that is back: longer than gRPC may wait to connect."""
_LOOK_SECONDS = 0.02
Options = tuple[tuple[str, int | str], ...]
T = TypeVar("T")
_Upload = grpc.aio.StreamUnaryCall[Any, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """How to speak TLS: `ca` is whom to trust (PEM; None: the public authorities).

    With `key` and `chain` (PEM) the client shows a certificate of its own (mTLS).

    >>> tls = TLS(ca=b"-----BEGIN CERTIFICATE-----...")
    >>> async with MediaClient("media.example:50051", tls=tls) as secured:
    ...     pass
    """

    ca: bytes | None = None
    key: bytes | None = dataclasses.field(default=None, repr=False)
    chain: bytes | None = None

    def __post_init__(self) -> None:
        if (self.key is None) != (self.chain is None):
            raise ValueError("give both key and chain, or neither")

    @classmethod
    def from_files(
        cls,
        *,
        ca: Path | str | None = None,
        key: Path | str | None = None,
        chain: Path | str | None = None,
    ) -> Self:
        """The same from PEM files. Raises OSError, and ValueError for a key without its chain."""
        read = [None if path is None else Path(path).read_bytes() for path in (ca, key, chain)]
        return cls(ca=read[0], key=read[1], chain=read[2])


def channel_options(max_message_bytes: int) -> Options:
    """How channels behave: pings find dead connections, failed ones are soon tried again."""
    return (
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # Equal channels would otherwise share one connection.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.service_config", _SERVICE_CONFIG),
    )


def targets(address: str) -> list[str]:
    """What gRPC is to be given for this address: several hosts are a target each.

    gRPC's own targets (`dns:///media`, `ipv4:10.0.0.1:50051,10.0.0.2:50051`) stay as they are.
    """
    if _SCHEME.match(address):
        return [address]
    return [host for host in (each.strip() for each in address.split(",")) if host] or [address]


def open_channel(address: str, tls: TLS | None, options: Options) -> grpc.aio.Channel:
    """One channel. Nothing is connected before the first call."""
    if tls is None:
        return grpc.aio.insecure_channel(address, options)
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.chain)
    return grpc.aio.secure_channel(address, credentials, options)


class GrpcTransport:
    """Spreads calls over channels, each with its address; `token` goes along with each call."""

    def __init__(
        self, channels: Sequence[tuple[str, grpc.aio.Channel]], *, token: str | None
    ) -> None:
        self._ways = deque(_Way(address, channel) for address, channel in channels)
        self._has_choice = len({address for address, _ in channels}) > 1
        self._authorization = (("authorization", f"Bearer {token}"),) if token else ()

    async def close(self) -> None:
        """Close every channel; calls in flight end Interrupted."""
        await asyncio.gather(*(way.channel.close() for way in self._ways))

    async def unary(self, rpc: Rpc[RequestT, AnswerT], request: RequestT, call: Call) -> AnswerT:
        """Send a message; its answer."""
        async with self._way(call) as way:
            with translated(call.request_id):
                answer = await way.unary(rpc)(
                    request, timeout=call.remaining_seconds(), metadata=self._metadata(call)
                )
        return _readable(answer, rpc.answer, call)

    async def stream(
        self, chunks: AsyncGenerator[pb.UploadChunk, None], call: Call
    ) -> pb.UploadMediaResponse:
        """Send an upload; its answer, which may come before all of it is sent."""
        async with self._way(call) as way:
            with translated(call.request_id):
                started = way.uploads(
                    timeout=call.remaining_seconds(), metadata=self._metadata(call)
                )
            answer = await _uploaded(started, chunks, call)
        return _readable(answer, UPLOAD_MEDIA_STREAM.answer, call)

    async def watch(
        self, rpc: Rpc[RequestT, AnswerT], request: RequestT, call: Call
    ) -> AsyncGenerator[AnswerT, None]:
        """Send a message; its answers, as they come."""
        async with self._way(call) as way:
            with translated(call.request_id):
                started = way.watch(rpc)(
                    request, timeout=call.remaining_seconds(), metadata=self._metadata(call)
                )
            try:
                while True:
                    with translated(call.request_id):
                        answer = await started.read()
                    if answer is grpc.aio.EOF:
                        return
                    yield _readable(answer, rpc.answer, call)
            finally:
                started.cancel()

    @asynccontextmanager
    async def _way(self, call: Call) -> AsyncGenerator[_Way, None]:
        """The channel for an attempt at a call; its address is noted if it fails there."""
        way = self._next(call)
        if call.past.failed_at and self._has_choice and way.is_away():
            way = await self._next_that_is_there(call)
        try:
            yield way
        except Unavailable:
            call.past.failed_at.add(way.address)
            raise

    def _next(self, call: Call) -> _Way:
        """The channel whose turn it is.

        Those that are known to lead nowhere come last, and before them those to an address at
        which this very call has failed: its death may not have reached their channels yet.
        """
        ways = self._ways
        if len(ways) > 1:
            best = min(ways, key=lambda way: (way.is_away(), way.address in call.past.failed_at))
            ways.rotate(-ways.index(best) - 1)
        return ways[-1]

    async def _next_that_is_there(self, call: Call) -> _Way:
        """Wait, once for a call, until a channel leads somewhere again.

        When instances restart one after another, the next may be gone before gRPC has tried again
        to connect to the one that is back.
        """
        loop = asyncio.get_running_loop()
        until = min(loop.time() + _PATIENCE_SECONDS, call.deadline)
        while (way := self._next(call)).is_away():
            if call.past.has_waited or loop.time() >= until:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        call.past.has_waited = True
        return way

    def _metadata(self, call: Call) -> tuple[tuple[str, str], ...]:
        traced = tuple((name.lower(), value) for name, value in trace_headers().items())
        return (*self._authorization, ("x-request-id", call.request_id), *traced)


class _Way:
    """A channel to an address, and the methods of the service on it, each made once."""

    def __init__(self, address: str, channel: grpc.aio.Channel) -> None:
        self.address, self.channel = address, channel
        self._made: dict[str, Any] = {}
        self.uploads = channel.stream_unary(
            _path(UPLOAD_MEDIA_STREAM),
            request_serializer=pb.UploadChunk.SerializeToString,
            response_deserializer=_parsing(UPLOAD_MEDIA_STREAM.answer),
        )

    def is_away(self) -> bool:
        """Whether gRPC could not connect and is about to try again."""
        return self.channel.get_state() in _AWAY

    def unary(self, rpc: Rpc[RequestT, AnswerT]) -> Any:
        """The callable of a method that takes one message and answers one."""
        return self._method(rpc, self.channel.unary_unary)

    def watch(self, rpc: Rpc[RequestT, AnswerT]) -> Any:
        """The callable of a method that takes one message and answers many."""
        return self._method(rpc, self.channel.unary_stream)

    def _method(self, rpc: Rpc[RequestT, AnswerT], make: Callable[..., Any]) -> Any:
        if rpc.name not in self._made:
            self._made[rpc.name] = make(
                _path(rpc),
                request_serializer=rpc.request.SerializeToString,
                response_deserializer=_parsing(rpc.answer),
            )
        return self._made[rpc.name]


def _path(rpc: Rpc[Any, Any]) -> str:
    return f"/{_SERVICE}/{rpc.name}"


def _parsing(cls: type[AnswerT]) -> Callable[[bytes], AnswerT | None]:
    """Parses answers; None for bytes that are no such message, which gRPC would only log."""

    def parsed(data: bytes) -> AnswerT | None:
        try:
            return cls.FromString(data)
        except DecodeError:
            return None

    return parsed


def _readable(answer: Message | None, cls: type[AnswerT], call: Call) -> AnswerT:
    if not isinstance(answer, cls):
        raise BadAnswer(request_id=call.request_id)
    return answer


async def _uploaded(
    started: _Upload, chunks: AsyncGenerator[pb.UploadChunk, None], call: Call
) -> Any:
    """The answer to an upload that runs. Raises what `chunks` raises, or else what the call does.

    Chunks are written rather than given to gRPC as an iterator: it would make a cancellation of
    whatever they raise, and would not stop waiting for them when the answer is there.
    """
    answer = asyncio.create_task(_answered(started, call))
    writing = asyncio.create_task(_write(started, chunks))
    try:
        await asyncio.wait((answer, writing), return_when=asyncio.FIRST_COMPLETED)
        if writing.done():
            writing.result()
        return await answer
    finally:
        writing.cancel()
        started.cancel()
        await asyncio.gather(writing, answer, return_exceptions=True)


async def _answered(started: _Upload, call: Call) -> Any:
    ending = _Ending(started)
    with translated(call.request_id):
        try:
            return await started
        except grpc.aio.AioRpcError as error:
            raise ending.error or error from None


async def _write(started: _Upload, chunks: AsyncGenerator[pb.UploadChunk, None]) -> None:
    async with aclosing(chunks):
        async for chunk in chunks:
            # A call that is over tells why when its answer is awaited.
            try:
                await started.write(chunk)
            except (grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
                return
    with suppress(grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
        await started.done_writing()


class _Ending:
    """Keeps the status that the service ended an upload with.

    When a write fails because the call is over, grpc.aio puts a status of its own in the place of
    the service's, if that came first: a refusal would look like a bug (grpc/grpc#36066).
    """

    def __init__(self, started: _Upload) -> None:
        self.error: grpc.aio.AioRpcError | None = None
        started.add_done_callback(self._note)

    def _note(self, ended: _Upload) -> None:
        code, details = _at_once(ended.code()), _at_once(ended.details())
        if code is not grpc.StatusCode.OK and details != WRITE_FAILED:
            trailing = _at_once(ended.trailing_metadata())
            self.error = grpc.aio.AioRpcError(code, None, trailing, details)


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as returned:
        value: T = returned.value
        return value
    coroutine.close()
    raise RuntimeError("a call that is over has a status")
