"""How the gRPC server ends: over a real connection, on a service of fakes."""

from __future__ import annotations

import asyncio

import grpc
from fakes.service import fake_service
from grpc_health.v1 import health_pb2, health_pb2_grpc
from media_service.core.readiness import Readiness
from media_service.entrypoints.grpc_api.server import GrpcSettings, serve_grpc

SETTINGS = GrpcSettings(
    host="127.0.0.1", port=0, tokens={}, tls=None, unary_budget_bytes=2**20, drain_seconds=3600
)


async def test_the_end_waits_for_nobody_who_watches_our_health() -> None:
    readiness = Readiness(needed={}, helpful={}, draining=asyncio.Event(), report=lambda *_: None)
    async with asyncio.timeout(60):
        async with serve_grpc(fake_service().service, SETTINGS, readiness=readiness) as port:
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
            watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await watching.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
        await channel.close()
