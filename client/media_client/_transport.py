"""What a client needs of the way to the service: the real one is gRPC, the double's is a call."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from typing import Generic, Protocol, TypeVar

from google.protobuf.message import Message
from media_proto import media_service_pb2 as pb

RequestT = TypeVar("RequestT", bound=Message)
AnswerT = TypeVar("AnswerT", bound=Message)


@dataclasses.dataclass(frozen=True, slots=True)
class Rpc(Generic[RequestT, AnswerT]):
    """One method of the contract."""

    name: str
    request: type[RequestT]
    answer: type[AnswerT]


UPLOAD_MEDIA = Rpc("UploadMedia", pb.UploadMediaRequest, pb.UploadMediaResponse)
UPLOAD_MEDIA_STREAM = Rpc("UploadMediaStream", pb.UploadChunk, pb.UploadMediaResponse)
GET_MEDIA = Rpc("GetMedia", pb.GetMediaRequest, pb.MediaResponse)
DELETE_MEDIA = Rpc("DeleteMedia", pb.DeleteMediaRequest, pb.DeleteMediaResponse)
PROCESS_MEDIA = Rpc("ProcessMedia", pb.ProcessMediaRequest, pb.ProcessMediaResponse)
GET_SIGNED_URL = Rpc("GetSignedUrl", pb.GetSignedUrlRequest, pb.GetSignedUrlResponse)
BATCH_GET_MEDIA = Rpc("BatchGetMedia", pb.BatchGetMediaRequest, pb.BatchGetMediaResponse)
WATCH_MEDIA = Rpc("WatchMedia", pb.WatchMediaRequest, pb.MediaResponse)
BATCH_DELETE_MEDIA = Rpc(
    "BatchDeleteMedia", pb.BatchDeleteMediaRequest, pb.BatchDeleteMediaResponse
)


@dataclasses.dataclass(slots=True)
class Past:
    """What became of earlier attempts at a call: where they failed, and if one has waited."""

    failed_at: set[str] = dataclasses.field(default_factory=set)
    has_waited: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One call of a method by the user; attempts at it share its id, its deadline and its past."""

    request_id: str
    deadline: float
    past: Past = dataclasses.field(default_factory=Past)

    def remaining_seconds(self) -> float:
        """How long it may still take."""
        return max(0.0, self.deadline - asyncio.get_running_loop().time())


class Transport(Protocol):
    """Carries single attempts. Everything raises MediaError, and nothing else of its own."""

    async def unary(self, rpc: Rpc[RequestT, AnswerT], request: RequestT, call: Call) -> AnswerT:
        """Send a message; its answer."""

    def watch(
        self, rpc: Rpc[RequestT, AnswerT], request: RequestT, call: Call
    ) -> AsyncGenerator[AnswerT, None]:
        """Send a message; its answers, as they come."""

    async def stream(
        self, chunks: AsyncGenerator[pb.UploadChunk, None], call: Call
    ) -> pb.UploadMediaResponse:
        """Send an upload; its answer. What `chunks` raises comes out as it is."""
