"""The one place where the core's errors become gRPC statuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from media_service.core.errors import RETRY_AFTER_SECONDS, Kind, MediaError

STATUS: Mapping[Kind, grpc.StatusCode] = {
    Kind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.BROKEN: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.UNSUPPORTED: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Kind.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Kind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Kind.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    Kind.LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Kind.FULL: grpc.StatusCode.UNAVAILABLE,
}
INTERNAL_MESSAGE = "Something went wrong on our side; the request id finds it in the logs."
_RETRYABLE = frozenset({Kind.LIMITED, Kind.UNAVAILABLE, Kind.FULL})
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


async def abort(context: Context, error: MediaError, *, request_id: str) -> NoReturn:
    """End the call with the error's status, sentence and code."""
    details = [_packed(_error_info(error.code, request_id))]
    if error.kind in _RETRYABLE:
        delay = duration_pb2.Duration(seconds=RETRY_AFTER_SECONDS)
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    await _abort(context, STATUS[error.kind], str(error), details)


async def abort_internal(context: Context, *, request_id: str) -> NoReturn:
    """End the call as a bug of ours: the caller learns the request id and nothing else."""
    details = [_packed(_error_info("internal_error", request_id))]
    await _abort(context, grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE, details)


def _error_info(code: str, request_id: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(
        reason=code, domain="media", metadata={"request_id": request_id}
    )


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


async def _abort(
    context: Context, code: grpc.StatusCode, message: str, details: list[any_pb2.Any]
) -> NoReturn:
    status = status_pb2.Status(code=code.value[0], message=message, details=details)
    trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(code, message, trailing)
