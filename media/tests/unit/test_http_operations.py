from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
import structlog
from fakes.service import BASE_URL, fake_service
from media_service.core import readiness
from media_service.core.errors import (
    DatabaseUnavailable,
    InvalidBatch,
    InvalidExpiry,
    TooManyPixels,
)
from media_service.core.media import Purpose
from media_service.core.purposes import DEFAULT_POLICIES
from media_service.core.readiness import Readiness
from media_service.entrypoints.http_api import operations
from media_service.entrypoints.http_api.app import http_app
from media_service.entrypoints.http_api.capabilities import LIMITS
from media_service.entrypoints.http_api.metrics import RequestMetrics, TellMetrics, own_metrics
from media_service.entrypoints.http_api.metrics_port import metrics_app
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp


async def _well() -> None:
    pass


@dataclasses.dataclass
class World:
    """What the app is told of the world, for tests to change."""

    checks: dict[str, Callable[[], Awaitable[None]]] = dataclasses.field(
        default_factory=lambda: {"database": _well, "storage": _well}
    )
    helpful: dict[str, Callable[[], Awaitable[None]]] = dataclasses.field(default_factory=dict)
    draining: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    reports: list[tuple[str, bool]] = dataclasses.field(default_factory=list)
    tell_metrics: TellMetrics | None = own_metrics

    def app(self) -> ASGIApp:
        looked_at = Readiness(
            needed=self.checks,
            helpful=self.helpful,
            draining=self.draining,
            report=lambda name, error: self.reports.append((name, error is not None)),
        )
        return http_app(
            fake_service().service,
            readiness=looked_at,
            capabilities=lambda: {"JPEG": "8.18"},
            tell_metrics=self.tell_metrics,
        )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(world.app())
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        yield client


async def test_the_service_is_alive_even_while_it_stops(
    world: World, http: httpx.AsyncClient
) -> None:
    world.draining.set()

    answer = await http.get("/healthz")

    assert answer.status_code == 200
    assert answer.json() == {"success": True, "data": {"status": "alive"}}
    assert answer.headers["connection"] == "close"


async def test_it_is_ready_when_every_backend_is(http: httpx.AsyncClient) -> None:
    answer = await http.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["data"]["backends"] == {"database": "ready", "storage": "ready"}
    assert "connection" not in answer.headers


async def test_it_says_which_backend_is_not_ready(world: World, http: httpx.AsyncClient) -> None:
    async def fail() -> None:
        raise DatabaseUnavailable

    world.checks["database"] = fail
    answer = await http.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["error"] == {"code": "not_ready", "message": "Not ready: database."}
    assert answer.json()["data"]["backends"] == {"database": "not ready", "storage": "ready"}


async def test_a_backend_is_reported_when_it_goes_and_when_it_comes_back(
    world: World, http: httpx.AsyncClient
) -> None:
    async def fail() -> None:
        raise DatabaseUnavailable

    world.checks["database"] = fail
    for _ in range(3):
        assert (await http.get("/readyz")).status_code == 503
    world.checks["database"] = _well
    for _ in range(3):
        assert (await http.get("/readyz")).status_code == 200

    assert world.reports == [("database", True), ("database", False)]


async def test_without_what_is_merely_helpful_it_is_ready_all_the_same(
    world: World, http: httpx.AsyncClient
) -> None:
    async def fail() -> None:
        raise OSError

    world.helpful["cache"] = fail

    answer = await http.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["data"]["backends"]["cache"] == "degraded"


async def test_metrics_that_have_a_port_of_their_own_are_not_here(world: World) -> None:
    world.tell_metrics = None
    transport = httpx.ASGITransport(world.app())
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as http:
        assert (await http.get("/metrics")).status_code == 404


async def test_a_port_for_metrics_tells_nothing_else() -> None:
    transport = httpx.ASGITransport(metrics_app(own_metrics))
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as http:
        assert "mediad_http_in_flight_requests" in (await http.get("/metrics")).text
        assert (await http.get("/healthz")).status_code == 404


async def test_checks_that_hang_are_given_up_all_at_once(
    world: World, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "CHECK_SECONDS", 0.05)

    async def hang() -> None:
        await asyncio.sleep(3600)

    world.checks |= {"database": hang, "storage": hang, "cache": hang}
    async with asyncio.timeout(2):
        answer = await http.get("/readyz")

    assert answer.json()["error"]["message"] == "Not ready: database, storage, cache."


async def test_it_is_not_ready_while_it_stops(world: World, http: httpx.AsyncClient) -> None:
    world.draining.set()

    answer = await http.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "draining"


@pytest.mark.parametrize("accept", ["*/*", "application/openmetrics-text; version=1.0.0"])
async def test_metrics_are_told_in_the_form_asked_for(http: httpx.AsyncClient, accept: str) -> None:
    await http.get("/healthz")

    answer = await http.get("/metrics", headers={"accept": accept})

    assert answer.status_code == 200
    assert ("openmetrics" in answer.headers["content-type"]) == ("openmetrics" in accept)
    assert 'mediad_http_request_seconds_count{method="GET",route="/healthz",status="2xx"}' in (
        answer.text
    )
    assert "mediad_http_response_bytes_total" in answer.text
    assert "mediad_http_in_flight_requests 1.0" in answer.text
    assert answer.text.endswith("# EOF\n") == ("openmetrics" in accept)


async def test_capabilities_tell_what_is_taken(http: httpx.AsyncClient) -> None:
    data = (await http.get("/capabilities")).json()["data"]

    assert data["decoders"] == {"JPEG": "8.18"}
    assert data["purposes"]["AVATAR"] == {
        "max_bytes": {"IMAGE": DEFAULT_POLICIES.of[Purpose.AVATAR].most_bytes},
        "visibility": "PUBLIC",
        "lifetime_seconds": None,
        "max_duration_seconds": None,
        "full": {"width": 2048, "height": 2048, "quality": 92},
        "thumbnail_quality": 85,
        "thumbnails": [
            {"name": "small", "shape": "crop", "width": 150, "height": 150},
            {"name": "medium", "shape": "crop", "width": 300, "height": 300},
            {"name": "large", "shape": "crop", "width": 600, "height": 600},
        ],
    }
    assert data["purposes"]["STORY"]["lifetime_seconds"] == 86_400
    assert data["purposes"]["STORY"]["max_duration_seconds"] == 60
    assert data["purposes"]["MESSAGE_ATTACHMENT"]["visibility"] == "PRIVATE"
    assert data["purposes"]["POST_ATTACHMENT"]["thumbnails"][0]["height"] is None
    assert data["limits"]["api"]["longest_expiry_seconds"] == 604_800


def test_the_limits_told_are_those_that_hold() -> None:
    pixels, api = LIMITS["pixels"], LIMITS["api"]

    told = str(TooManyPixels())
    assert f"{pixels['most_a_frame'] // 1_000_000} megapixels" in told
    assert f"{pixels['most_a_moving_frame'] // 1_000_000} a frame" in told
    assert f"{pixels['most_a_side']} a side" in told
    assert f"{pixels['most_in_all_frames'] // 1_000_000} in all" in told
    assert f"1 to {api['most_ids_in_a_batch']} ids" in str(InvalidBatch())
    assert f"({api['longest_expiry_seconds']})" in str(InvalidExpiry())


@pytest.mark.parametrize(
    "path", ["/", "/healthz/", "/Healthz", "/healthzz", "/media", "/favicon.ico", "//evil/healthz"]
)
async def test_there_is_nothing_else(http: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "POST"):
        answer = await http.request(method, httpx.URL(BASE_URL).copy_with(raw_path=path.encode()))

        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/capabilities"])
async def test_everything_is_only_read(http: httpx.AsyncClient, path: str) -> None:
    head = await http.head(path)
    answer = await http.post(path, content=b"x" * 100)

    assert head.status_code == 200
    assert head.content == b""
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert answer.json()["error"]["code"] == "method_not_allowed"


async def test_a_bug_in_a_check_of_the_world_is_still_an_answer(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(operations, "describe_capabilities", fail)
    with structlog.testing.capture_logs() as logs:
        answer = await http.get("/capabilities")

    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert [entry["event"] for entry in logs] == ["http.bug"]


async def test_the_request_id_is_bound_while_the_answer_is_made(
    world: World, http: httpx.AsyncClient
) -> None:
    bound: list[object] = []

    async def look() -> None:
        bound.append(structlog.contextvars.get_contextvars()["request_id"])

    world.checks["database"] = look
    answer = await http.get("/readyz", headers={"x-request-id": "abc"})

    assert bound == ["abc"]
    assert answer.headers["x-request-id"] == "abc"
    assert "request_id" not in structlog.contextvars.get_contextvars()


def test_requests_are_counted_by_what_became_of_them() -> None:
    metrics = RequestMetrics()
    registry = CollectorRegistry()
    registry.register(metrics)

    for key, seconds in (
        (("/media", "GET", 200), 0.0005),
        (("/media", "GET", 206), 0.002),
        (("/media", "GET", 0), 100.0),
        (("/media", "BREW", 405), 0.1),
        (("/media", "brew", 405), 0.1),
    ):
        metrics.begin()
        metrics.end(key, seconds=seconds, body_bytes=10)
    metrics.begin()

    told = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }
    seconds_of = "mediad_http_request_seconds"
    assert told[f"{seconds_of}_count", "/media", "2xx", "GET"] == 2
    assert told[f"{seconds_of}_bucket", "/media", "0.0005", "2xx", "GET"] == 1
    assert told[f"{seconds_of}_bucket", "/media", "0.0025", "2xx", "GET"] == 2
    assert told[f"{seconds_of}_bucket", "+Inf", "/media", "GET", "cut"] == 1
    assert told[f"{seconds_of}_bucket", "/media", "60.0", "GET", "cut"] == 0
    assert told[f"{seconds_of}_count", "/media", "4xx", "other"] == 2
    assert told[("mediad_http_response_bytes_total",)] == 50
    assert told[("mediad_http_in_flight_requests",)] == 1
