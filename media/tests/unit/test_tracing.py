from __future__ import annotations

import socket

import pytest
from media_service.tracing import UNTRACED, TracingRefused, check_collector, endpoint, open_tracing

COLLECTOR = "http://collector:4318"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_TRACES_EXPORTER", raising=False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ""),
        ({"OTEL_SERVICE_NAME": "media"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, COLLECTOR),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": COLLECTOR}, COLLECTOR),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, ""),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, ""),
    ],
)
def test_tracing_is_on_where_the_standard_variables_say_so(
    environment: dict[str, str], expected: str
) -> None:
    assert endpoint(environment) == expected


@pytest.mark.parametrize(
    "wrong", [{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {"OTEL_TRACES_EXPORTER": "zipkin"}]
)
def test_what_is_not_spoken_is_refused_by_name(wrong: dict[str, str]) -> None:
    (name,) = wrong
    with pytest.raises(TracingRefused, match=name):
        endpoint({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR} | wrong)


def test_without_them_nothing_goes_around_the_service() -> None:
    app = object()

    with open_tracing() as tracing:
        assert tracing is UNTRACED
        assert tracing.requests(app) is app
        assert tracing.steps(app, upload="upload") is app
        assert tracing.interceptors == ()


async def test_the_doctor_says_that_tracing_is_off() -> None:
    assert "off" in await check_collector()


async def test_the_doctor_says_whether_the_collector_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{where}")
        assert where in await check_collector()

    with pytest.raises(OSError, match=where):
        await check_collector()
