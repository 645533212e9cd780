"""The caller behind `mediad upload`: streams files to a media service, and follows their making."""

from __future__ import annotations

import dataclasses
import mimetypes
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from media_proto import media_service_pb2 as pb
from media_proto import media_service_pb2_grpc as pb_grpc

_CHUNK_BYTES = 512 * 1024
_TIMEOUT_SECONDS = 60
_SLOWEST_BYTES_A_SECOND = 512 * 1024
_WATCH_SECONDS = 6 * 3600


class UploadRefused(Exception):
    """The media service did not take the file."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UploadTarget:
    """Where uploads go, and what they are."""

    address: str
    token: str
    user_id: str
    purpose: str
    """Empty: what suits a file's name."""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call carries beside its message."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()


def purpose_of(filename: str) -> str:
    """The purpose that most likely takes a file of this name."""
    kind = (mimetypes.guess_type(filename)[0] or "image/").split("/")[0]
    of = {"image": "PROFILE_PICTURE", "video": "POST_ATTACHMENT", "audio": "POST_ATTACHMENT"}
    return of.get(kind, "MESSAGE_ATTACHMENT")


async def upload_file(
    target: UploadTarget, path: Path, *, on_progress: Callable[[int], None]
) -> dict[str, Any]:
    """Upload one file; the answer as JSON values. `on_progress` is told each chunk's bytes.

    Raises UploadRefused with the service's code and sentence.
    """
    async with grpc.aio.insecure_channel(target.address) as channel:
        stub = pb_grpc.MediaServiceStub(channel)
        try:
            answer = await stub.UploadMediaStream(
                _chunks(target, path, on_progress),
                metadata=target.metadata,
                timeout=_seconds_for(path),
            )
        except grpc.aio.AioRpcError as error:
            raise UploadRefused(_sentence(error, target.address)) from error
    return MessageToDict(answer, preserving_proto_field_name=True)


async def follow(
    target: UploadTarget, media_id: str, *, on_percent: Callable[[int], None]
) -> dict[str, Any]:
    """Wait until a medium's work is done or has failed; what it is then, as JSON values.

    `on_percent` is told each change. Raises UploadRefused if its end can't be learned.
    """
    answer = pb.MediaResponse()
    async with grpc.aio.insecure_channel(target.address) as channel:
        request = pb.WatchMediaRequest(media_id=media_id)
        try:
            async for answer in pb_grpc.MediaServiceStub(channel).WatchMedia(
                request, metadata=target.metadata, timeout=_WATCH_SECONDS
            ):
                on_percent(answer.progress_percent)
        except grpc.aio.AioRpcError as error:
            raise UploadRefused(_sentence(error, target.address)) from error
    return MessageToDict(answer, preserving_proto_field_name=True)


def _seconds_for(path: Path) -> int:
    return _TIMEOUT_SECONDS + path.stat().st_size // _SLOWEST_BYTES_A_SECOND


async def _chunks(
    target: UploadTarget, path: Path, on_progress: Callable[[int], None]
) -> AsyncIterator[pb.UploadChunk]:
    yield pb.UploadChunk(metadata=_metadata(target, path))
    with path.open("rb") as file:
        while data := file.read(_CHUNK_BYTES):
            yield pb.UploadChunk(data=data)
            on_progress(len(data))


def _metadata(target: UploadTarget, path: Path) -> pb.UploadMetadata:
    """With its size, a file that is too large is refused before any of it is sent."""
    return pb.UploadMetadata(
        filename=path.name,
        content_type=mimetypes.guess_type(path.name)[0] or "",
        user_id=target.user_id,
        purpose=pb.MediaPurpose.Value(target.purpose or purpose_of(path.name)),
        expected_size_bytes=path.stat().st_size or None,
    )


def _sentence(error: grpc.aio.AioRpcError, address: str) -> str:
    """The code and the sentence of a refusal; what gRPC says where it is not ours."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return f"{info.reason}: {error.details()}"
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        advice = f"no answer from {address}: start `mediad serve`, or say --address host:port"
        return f"{advice} ({error.details()})"
    return f"{error.code().name}: {error.details()}"
