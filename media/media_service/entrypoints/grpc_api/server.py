"""The gRPC server: our handlers, health and reflection."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from media_service.core.readiness import Readiness
from media_service.core.service import MediaService
from media_service.core.uploads import MAX_UNARY_BYTES
from media_service.entrypoints.grpc_api.auth import ServiceTokens
from media_service.entrypoints.grpc_api.budget import ByteBudget
from media_service.entrypoints.grpc_api.handlers import SERVICE, MediaHandlers
from media_service.entrypoints.grpc_api.servicer import MediaServicer

MAX_MESSAGE_BYTES = MAX_UNARY_BYTES + 64 * 1024
"""A file, and what is said about it."""
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 1000),
    # A fixed window: one that is adapted to the line grows beyond 10 MB for each upload at once.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 512 * 1024),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)
_NAMES = ("", SERVICE.full_name)
_LOOK_SECONDS = 2.0
_LAST_WORDS_SECONDS = 0.5
"""Answers are on their way for less than twice this after we gave them."""


class PortInUse(OSError):
    """This address can't be listened on: another server may be running there."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address}: {self.__doc__}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GrpcSettings:
    """Where to listen and whom to let in. `tls` is the server's key, chain, and clients' CA.

    `is_shared` lets other processes of this user listen on the same port. Connections are asked
    to be made anew after `connection_age_seconds` (0: never), so that they spread over servers
    that came later; calls in flight finish on the old one, however long they take.
    """

    host: str
    port: int
    tokens: Mapping[str, str]
    tls: tuple[bytes, bytes, bytes | None] | None
    unary_budget_bytes: int
    drain_seconds: float = 20
    connection_age_seconds: float = 0
    is_shared: bool = False

    @property
    def options(self) -> tuple[tuple[str, int], ...]:
        """Those of gRPC's server."""
        age = self.connection_age_seconds
        return (
            *_OPTIONS,
            # Another server on the same port must be an error, not a share of its calls.
            ("grpc.so_reuseport", int(self.is_shared)),
            *((("grpc.max_connection_age_ms", int(age * 1000)),) if age else ()),
        )


@asynccontextmanager
async def serve_grpc(
    service: MediaService,
    settings: GrpcSettings,
    *,
    readiness: Readiness,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> AsyncIterator[int]:
    """Serve while the context lasts; yields the port. On leaving, calls in flight may finish.

    Raises PortInUse.
    """
    budget = ByteBudget(settings.unary_budget_bytes, largest_message_bytes=MAX_MESSAGE_BYTES)
    handlers = MediaHandlers(
        MediaServicer(service), tokens=ServiceTokens(settings.tokens), budget=budget
    )
    server = grpc.aio.server(options=settings.options, interceptors=interceptors)
    server.add_generic_rpc_handlers((handlers,))
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection(
        (SERVICE.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    port = _listen(server, settings)
    await _tell(health_servicer, readiness)
    telling = asyncio.create_task(_keep_telling(health_servicer, readiness))
    stopping = asyncio.create_task(_stop_watchers(service, readiness))
    await server.start()
    try:
        yield port
    finally:
        service.watching.stop()
        for task in (telling, stopping):
            task.cancel()
        await asyncio.wait({telling, stopping})
        await health_servicer.enter_graceful_shutdown()
        await _stop(server, handlers, drain_seconds=settings.drain_seconds)


async def _stop(server: grpc.aio.Server, handlers: MediaHandlers, *, drain_seconds: float) -> None:
    """Let our calls finish, but wait for no others.

    Who watches our health would stay for ever; and now and then gRPC takes a call as it stops that
    it hands to nobody.
    """
    stopping = asyncio.create_task(server.stop(drain_seconds))
    idle_looks = 0
    while not stopping.done():
        await asyncio.wait({stopping}, timeout=_LAST_WORDS_SECONDS)
        idle_looks = 0 if handlers.in_flight else idle_looks + 1
        if idle_looks > 1:
            await server.stop(None)
    await stopping


async def _stop_watchers(service: MediaService, readiness: Readiness) -> None:
    """Those who watch would go on for minutes: they are sent elsewhere as the end begins."""
    await readiness.draining.wait()
    service.watching.stop()


async def _keep_telling(servicer: health.aio.HealthServicer, readiness: Readiness) -> None:
    """Keep what the health service says true, until the end begins."""
    while not readiness.draining.is_set():
        await _tell(servicer, readiness)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await readiness.draining.wait()
    await servicer.enter_graceful_shutdown()


async def _tell(servicer: health.aio.HealthServicer, readiness: Readiness) -> None:
    status = health_pb2.HealthCheckResponse
    is_ready = (await readiness.look()).is_ready
    for name in _NAMES:
        await servicer.set(name, status.SERVING if is_ready else status.NOT_SERVING)


def _listen(server: grpc.aio.Server, settings: GrpcSettings) -> int:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.port}"
    try:
        if settings.tls is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, _credentials(settings.tls))
    except RuntimeError as error:
        raise PortInUse(address) from error


def _credentials(tls: tuple[bytes, bytes, bytes | None]) -> grpc.ServerCredentials:
    key, chain, client_ca = tls
    return grpc.ssl_server_credentials(
        [(key, chain)], root_certificates=client_ca, require_client_auth=client_ca is not None
    )
