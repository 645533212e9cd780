"""The caller behind `mediad upload`: streams files to a media service and shows its answers."""

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


class UploadRefused(Exception):
    """The media service did not take the file."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UploadTarget:
    """Where uploads go, and what they are."""

    address: str
    token: str
    user_id: str
    purpose: str


async def upload_file(
    target: UploadTarget, path: Path, *, on_progress: Callable[[int], None]
) -> dict[str, Any]:
    """Upload one file; the answer as JSON values. `on_progress` is told each chunk's bytes.

    Raises UploadRefused with the service's code and sentence.
    """
    async with grpc.aio.insecure_channel(target.address) as channel:
        stub = pb_grpc.MediaServiceStub(channel)
        metadata = (("authorization", f"Bearer {target.token}"),) if target.token else ()
        try:
            answer = await stub.UploadMediaStream(
                _chunks(target, path, on_progress), metadata=metadata, timeout=_TIMEOUT_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            raise UploadRefused(_sentence(error, target.address)) from error
    return MessageToDict(answer, preserving_proto_field_name=True)


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
        purpose=pb.MediaPurpose.Value(target.purpose),
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
