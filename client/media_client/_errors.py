"""The one place where gRPC's errors become ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from media_client import errors

DOMAIN = "media"
STATUS: Mapping[grpc.StatusCode, type[errors.MediaError]] = {
    grpc.StatusCode.CANCELLED: errors.Interrupted,
    grpc.StatusCode.UNKNOWN: errors.InternalError,
    grpc.StatusCode.INVALID_ARGUMENT: errors.Invalid,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.Conflict,
    grpc.StatusCode.PERMISSION_DENIED: errors.Forbidden,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Limited,
    grpc.StatusCode.FAILED_PRECONDITION: errors.Conflict,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.OUT_OF_RANGE: errors.Invalid,
    grpc.StatusCode.UNIMPLEMENTED: errors.BadAnswer,
    grpc.StatusCode.INTERNAL: errors.InternalError,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DATA_LOSS: errors.InternalError,
}
"""What a status means where the service gives no code of its own, or one we don't know."""
_TOO_LARGE = "message larger than max"
"""What gRPC itself says, with RESOURCE_EXHAUSTED, of a message above a limit."""
WRITE_FAILED = "Internal error from Core"
"""What grpc.aio says, with INTERNAL, when it could not send and knows no more."""
_DETAILS = "grpc-status-details-bin"
_MOST_RETRY_SECONDS = 3600.0
_DetailT = TypeVar("_DetailT", bound=Message)


@contextmanager
def translated(request_id: str) -> Iterator[None]:
    """Raise what gRPC raises as a MediaError; let cancellations of this task pass."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error, request_id=request_id) from error
    except grpc.aio.BaseError as error:  # the channel was closed meanwhile
        raise errors.Interrupted(request_id=request_id) from error
    except asyncio.CancelledError as error:
        if _is_cancelled():
            raise
        raise errors.Interrupted(request_id=request_id) from error


def _is_cancelled() -> bool:
    """Whether it is this task that was cancelled, and not only its call."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def from_rpc(error: grpc.aio.AioRpcError, *, request_id: str) -> errors.MediaError:
    """The error that the service, a proxy or gRPC itself means."""
    details = _details(error)
    info, retry = _detail(details, ErrorInfo), _detail(details, RetryInfo)
    retry_after = _seconds(retry) if retry else None
    kind = STATUS.get(error.code(), errors.InternalError)
    sentence = error.details() or ""
    if info is None or info.domain != DOMAIN or not info.reason:
        kind = _told_by_grpc(kind, sentence)
        return kind(request_id=request_id, retry_after=retry_after)
    return from_code(
        info.reason,
        kind=kind,
        message=sentence,
        request_id=info.metadata.get("request_id") or request_id,
        retry_after=retry_after,
    )


def _told_by_grpc(kind: type[errors.MediaError], sentence: str) -> type[errors.MediaError]:
    if kind is errors.Limited and _TOO_LARGE in sentence:
        return errors.MessageTooLarge
    if kind is errors.InternalError and sentence == WRITE_FAILED:
        return errors.Interrupted
    return kind


def from_code(
    code: str,
    *,
    kind: type[errors.MediaError],
    message: str,
    request_id: str,
    retry_after: float | None = None,
) -> errors.MediaError:
    """The error of a stable code, or else one of its kind with that code."""
    cls = errors.BY_CODE.get(code, kind)
    return cls(message, code=code, request_id=request_id, retry_after=retry_after)


def _details(error: grpc.aio.AioRpcError) -> Status:
    for name, value in error.trailing_metadata() or ():
        if name == _DETAILS and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:
                break
    return Status()


def _detail(status: Status, cls: type[_DetailT]) -> _DetailT | None:
    detail = cls()
    for packed in status.details:
        try:
            if packed.Unpack(detail):
                return detail
        except DecodeError:
            continue
    return None


def _seconds(retry: RetryInfo) -> float:
    delay = retry.retry_delay
    seconds: float = delay.seconds + delay.nanos / 1e9
    return min(max(0.0, seconds), _MOST_RETRY_SECONDS)
