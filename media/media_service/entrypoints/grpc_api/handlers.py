"""How calls reach the servicer: credentials first, then room for the message, then the method.

gRPC reads a unary message whole before it enters a handler. UploadMedia must not be read before
there is room for it, so it is served as a stream of one message: on the wire they are the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from media_proto import media_service_pb2 as pb

from media_service.core.errors import InvalidRequest, MediaError, UploadStalled
from media_service.entrypoints.grpc_api.auth import ServiceTokens
from media_service.entrypoints.grpc_api.budget import ByteBudget
from media_service.entrypoints.grpc_api.calls import GuardedCall
from media_service.entrypoints.grpc_api.chunks import STALL_SECONDS
from media_service.entrypoints.grpc_api.errors import Context
from media_service.entrypoints.grpc_api.servicer import MediaServicer

_BUDGETED = "UploadMedia"
"""The one unary method with large messages."""
SERVICE = pb.DESCRIPTOR.services_by_name["MediaService"]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour: TypeAlias = Callable[[Any, Context], Awaitable[Any]]


class MediaHandlers(grpc.GenericRpcHandler):
    """The handlers of `media.MediaService`, each behind the service tokens."""

    def __init__(
        self, servicer: MediaServicer, *, tokens: ServiceTokens, budget: ByteBudget
    ) -> None:
        self._tokens = tokens
        self._calls = {
            method.name: _guarded(servicer, method.name, budget) for method in SERVICE.methods
        }
        self._handlers = _handlers(self._calls)

    @property
    def in_flight(self) -> int:
        """How many calls are being answered."""
        return sum(call.in_flight for call in self._calls.values())

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """The handler of a method, or of the refusal to enter it; nothing was read yet."""
        handler = self._handlers.get(handler_call_details.method)
        if handler is None or not self._tokens.are_needed:
            return handler
        try:
            self._tokens.check(handler_call_details.invocation_metadata)
        except MediaError as error:
            return _refusal(handler_call_details.method, error)
        return handler


def _guarded(servicer: MediaServicer, name: str, budget: ByteBudget) -> GuardedCall:
    behaviour = getattr(servicer, name)
    return GuardedCall(name, _within_budget(behaviour, budget) if name == _BUDGETED else behaviour)


def _handlers(calls: Mapping[str, GuardedCall]) -> Mapping[str, Handler]:
    handlers: dict[str, Handler] = {}
    for method in SERVICE.methods:
        make = _maker(method.client_streaming or method.name == _BUDGETED, method.server_streaming)
        handlers[f"/{SERVICE.full_name}/{method.name}"] = make(
            calls[method.name].run,
            request_deserializer=_tolerant(GetMessageClass(method.input_type).FromString),
            response_serializer=_serialized,
        )
    return handlers


def _maker(is_streaming: bool, is_answering_often: bool) -> Callable[..., Handler]:
    if is_answering_often:
        return grpc.unary_stream_rpc_method_handler
    if is_streaming:
        return grpc.stream_unary_rpc_method_handler
    return grpc.unary_unary_rpc_method_handler


def _within_budget(upload: Behaviour, budget: ByteBudget) -> Behaviour:
    async def upload_in_turn(requests: AsyncIterator[Any], context: Context) -> Any:
        async with budget.reserved() as reservation:
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    request = await anext(aiter(requests), None)
            except TimeoutError:
                raise UploadStalled from None
            if not isinstance(request, pb.UploadMediaRequest):
                raise InvalidRequest
            reservation.shrink(len(request.data))
            return await upload(request, context)

    return upload_in_turn


def _refusal(method: str, error: MediaError) -> Handler:
    """A handler that answers with the error and reads nothing."""

    async def refuse(_requests: Any, _context: Context) -> Any:
        raise error

    call = GuardedCall(method.rpartition("/")[2], refuse)
    return grpc.stream_unary_rpc_method_handler(call.run)


def _tolerant(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Bytes that are no message stay bytes, so that the call is refused in our words."""

    def parsed(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return data

    return parsed


def _serialized(answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()
