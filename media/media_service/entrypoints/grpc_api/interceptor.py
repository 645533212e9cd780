"""What every call goes through: credentials, request id, budget, errors, metrics, one log line."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError
from prometheus_client import Counter, Gauge, Histogram

from media_service.core.errors import InvalidRequest, MediaError
from media_service.entrypoints.grpc_api.auth import ServiceTokens
from media_service.entrypoints.grpc_api.budget import ByteBudget, current_reservation
from media_service.entrypoints.grpc_api.errors import STATUS, Context, abort, abort_internal

REQUEST_ID = "x-request-id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_UNARY_UPLOAD = "/media.MediaService/UploadMedia"
_QUIET = frozenset({"GetMedia", "BatchGetMedia", "GetSignedUrl", "Check", "Watch"})
"""Reads are counted, not logged, unless they fail."""

_SECONDS = Histogram(
    "mediad_grpc_request_seconds",
    "How long calls took, from their first byte to their answer",
    ["method", "code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
_ERRORS = Counter("mediad_errors_total", "Calls refused, by stable code", ["transport", "code"])
_IN_FLIGHT = Gauge("mediad_grpc_in_flight_requests", "Calls being served")

UNREADABLE = object()
"""Stands for a message whose bytes are none."""

log = structlog.get_logger()
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour = Callable[[Any, Context], Awaitable[Any]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Stands before every method of the server."""

    def __init__(self, *, tokens: ServiceTokens, budget: ByteBudget) -> None:
        self._tokens = tokens
        self._budget = budget
        self._guarded: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler, guarded. Nothing of the message has been read yet."""
        method = handler_call_details.method
        authorization = _metadata_value(handler_call_details, "authorization")
        try:
            self._tokens.caller(method, authorization)
            if method == _UNARY_UPLOAD:
                await self._reserve()
        except MediaError as error:
            return _refusal(method, error)
        guarded = self._guarded.get(method)
        if guarded is None:
            handler = await continuation(handler_call_details)
            if handler is None or handler.response_streaming:
                return handler
            guarded = self._guarded[method] = _guard(method, handler)
        return guarded

    async def _reserve(self) -> None:
        reservation = await self._budget.reserve()
        current_reservation.set(reservation)
        # The handler is never entered if the caller leaves while the message arrives; the task
        # that serves the call always ends.
        task = asyncio.current_task()
        if task:
            task.add_done_callback(lambda _: reservation.shrink(0))


def _metadata_value(details: grpc.HandlerCallDetails, key: str) -> str:
    for name, value in details.invocation_metadata or ():
        if name == key:
            return value if isinstance(value, str) else ""
    return ""


def _refusal(method: str, error: MediaError) -> Handler:
    """A handler that answers with the error and reads nothing."""

    async def refuse(_requests: Any, _context: Context) -> Any:
        raise error

    return _guard(method, grpc.stream_unary_rpc_method_handler(refuse))


def _guard(method: str, handler: Handler) -> Handler:
    name = method.rpartition("/")[2]
    parse = handler.request_deserializer
    kind = "stream_unary" if handler.request_streaming else "unary_unary"
    call = _Call(name, getattr(handler, kind))

    async def guarded(request: Any, context: Context) -> Any:  # gRPC wants a real function
        return await call(request, context)

    return handler._replace(  # type: ignore[attr-defined, no-any-return]
        request_deserializer=_tolerant(parse) if parse else None, **{kind: guarded}
    )


def _tolerant(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Bytes that are no message become UNREADABLE, so that the call can be refused in our words."""

    def parsed(data: bytes) -> Any:
        reservation = current_reservation.get()
        if reservation:
            reservation.shrink(len(data))
        try:
            return parse(data)
        except DecodeError:
            return UNREADABLE

    return parsed


class _Call:
    """One method, guarded."""

    def __init__(self, name: str, behaviour: Behaviour) -> None:
        self._name = name
        self._behaviour = behaviour
        self._is_quiet = name in _QUIET
        self._ok = _SECONDS.labels(name, "OK")

    async def __call__(self, request: Any, context: Context) -> Any:
        started = time.perf_counter()
        request_id = _request_id(context)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        _IN_FLIGHT.inc()
        observe = _SECONDS.labels(self._name, "CANCELLED") if not self._is_quiet else None
        try:
            context.set_trailing_metadata(((REQUEST_ID, request_id),))
            if request is UNREADABLE:
                raise InvalidRequest
            answer = await self._behaviour(request, context)
            observe = self._ok
        except MediaError as error:
            code = STATUS[error.kind].name
            observe = _SECONDS.labels(self._name, code)
            _ERRORS.labels("grpc", error.code).inc()
            self._log_refusal(error, started)
            await abort(context, error, request_id=request_id)
        except grpc.aio.AbortError:
            raise
        except Exception:
            observe = _SECONDS.labels(self._name, "INTERNAL")
            log.exception("grpc.bug", method=self._name)
            await abort_internal(context, request_id=request_id)
        finally:
            _IN_FLIGHT.dec()
            if observe:
                observe.observe(time.perf_counter() - started)
        if not self._is_quiet:
            log.info("grpc.call", method=self._name, ms=_milliseconds(started))
        return answer

    def _log_refusal(self, error: MediaError, started: float) -> None:
        cause = repr(error.__cause__) if error.__cause__ else None
        log.info(
            "grpc.refused",
            method=self._name,
            code=error.code,
            ms=_milliseconds(started),
            **({"cause": cause} if cause else {}),
        )


def _request_id(context: Context) -> str:
    for name, value in context.invocation_metadata() or ():
        if name == REQUEST_ID and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex


def _milliseconds(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
