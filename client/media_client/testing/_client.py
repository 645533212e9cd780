"""The client that talks to a service in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import Self

from media_proto import media_service_pb2 as pb

from media_client._api import MediaApi
from media_client._retrying import Retries
from media_client._transport import UPLOAD_MEDIA_STREAM, AnswerT, Call, RequestT, Rpc, Transport
from media_client.errors import DeadlineExceeded
from media_client.testing._checks import check_arriving, checked
from media_client.testing._service import InMemoryMedia

_QUICK = Retries(first_pause=0.001)
_LOOK_SECONDS = 0.005


class FakeMediaClient(MediaApi):
    """A `MediaClient` whose service is in memory; its retries don't keep tests waiting.

    >>> async with FakeMediaClient() as media:
    ...     stored = await media.upload_profile_picture(sample_picture(), "me.png", "alice")
    ...     await media.delete_media(stored.media_id, user_id="alice")
    >>> media.service.ids_of("alice")
    ()
    """

    def __init__(
        self,
        service: InMemoryMedia | None = None,
        *,
        timeout: float = 10.0,
        upload_timeout: float = 60.0,
        retries: Retries = _QUICK,
    ) -> None:
        super().__init__(timeout=timeout, upload_timeout=upload_timeout, retries=retries)
        self.service = service or InMemoryMedia()
        self._open: _InMemoryTransport | None = None

    @property
    def _transport(self) -> Transport:
        if self._open is None:
            raise RuntimeError("open the client first: async with FakeMediaClient() as client")
        return self._open

    async def __aenter__(self) -> Self:
        if self._open is not None:
            raise RuntimeError("the client is open already")
        self._open = _InMemoryTransport(self.service)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = None


class _InMemoryTransport:
    def __init__(self, service: InMemoryMedia) -> None:
        self._service = service

    async def unary(self, rpc: Rpc[RequestT, AnswerT], request: RequestT, call: Call) -> AnswerT:
        async def handle() -> AnswerT:
            answer: AnswerT = self._service.handler(rpc.name)(request)
            return answer

        return await self._service.receive(rpc.name, call, handle)

    async def watch(
        self, rpc: Rpc[RequestT, AnswerT], request: RequestT, call: Call
    ) -> AsyncGenerator[AnswerT, None]:
        seen: AnswerT | None = None
        answer = await self.unary(rpc, request, call)
        while True:
            if answer != seen:
                yield (seen := answer)
            if not self._service.is_unfinished(answer):
                return
            if not call.remaining_seconds():
                raise DeadlineExceeded(request_id=call.request_id)
            await asyncio.sleep(_LOOK_SECONDS)
            answer = self._service.look_again(request, seen=answer)

    async def stream(
        self, chunks: AsyncGenerator[pb.UploadChunk, None], call: Call
    ) -> pb.UploadMediaResponse:
        request = pb.UploadMediaRequest()

        async def handle() -> pb.UploadMediaResponse:
            if not request.user_id:
                request.CopyFrom(await _joined(chunks))
            return self._service.upload(request)

        return await self._service.receive(UPLOAD_MEDIA_STREAM.name, call, handle)


async def _joined(chunks: AsyncGenerator[pb.UploadChunk, None]) -> pb.UploadMediaRequest:
    """The upload as one message. Raises as soon as it is known to be refused."""
    async with aclosing(chunks):
        request, data = _as_request((await anext(chunks)).metadata), bytearray()
        policy = checked(request)
        async for chunk in chunks:
            data += chunk.data
            check_arriving(request, data, policy)
    request.data = bytes(data)
    return request


def _as_request(about: pb.UploadMetadata) -> pb.UploadMediaRequest:
    request = pb.UploadMediaRequest()
    for field, value in about.ListFields():
        if field.message_type:
            getattr(request, field.name).CopyFrom(value)
        else:
            setattr(request, field.name, value)
    return request
