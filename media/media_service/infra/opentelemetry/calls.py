"""A span for each gRPC call, part of its caller's trace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

import grpc
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from media_service.core.errors import MediaError
from media_service.core.media import parse_media_id
from media_service.infra.opentelemetry.jobs import CONTEXT
from media_service.infra.opentelemetry.steps import tell_code, tracer

_OURS = "/media.MediaService/"
_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class TracedCalls(grpc.aio.ServerInterceptor):
    """Puts the calls of our service in spans; health and reflection are none of anybody's trace."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The handler of the call, in a span."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if not handler or not method.startswith(_OURS):
            return handler
        make, behaviour = _shape_of(handler)
        return make(
            _around(behaviour, method.removeprefix("/")),
            handler.request_deserializer,
            handler.response_serializer,
        )


def _shape_of(handler: Any) -> tuple[Callable[..., Handler], Callable[..., Any]]:
    """What makes handlers like this one, and what it does."""
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler, handler.unary_stream
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler, handler.stream_unary
    return grpc.unary_unary_rpc_method_handler, handler.unary_unary


def _around(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    service, _, name = method.rpartition("/")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}

    async def call(request: Any, call_context: Any) -> Any:
        sent = {
            key: value
            for key, value in call_context.invocation_metadata() or ()
            if isinstance(value, str)
        }
        with tracer.start_as_current_span(
            method,
            context=CONTEXT.extract(sent, Context()),
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            _tell_media_id(span, request)
            try:
                answer = await behaviour(request, call_context)
            except grpc.aio.AbortError:
                _tell_refusal(span, call_context)
                raise
            except asyncio.CancelledError:  # the caller left, or its deadline passed
                tell_code(span, "CANCELLED", is_fault=False)
                raise
            _tell_media_id(span, answer)
            return answer

    return call


def _tell_media_id(span: Span, message: Any) -> None:
    """The medium that the message is about, if it is one's id: other words are the caller's."""
    with suppress(MediaError):
        span.set_attribute("media.id", parse_media_id(getattr(message, "media_id", "")))


def _tell_refusal(span: Span, call_context: Any) -> None:
    status = call_context.code()
    name = status.name if isinstance(status, grpc.StatusCode) else str(status)
    span.set_attribute("rpc.grpc.status_code", name)
    tell_code(span, _code(call_context) or name, is_fault=name in _FAULTS)


def _code(call_context: Any) -> str:
    """Our stable code, from the details that the caller gets."""
    details = dict(call_context.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    told = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(details).details:
        if detail.Unpack(told):
            return str(told.reason)
    return ""
