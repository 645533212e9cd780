"""Tracing, if the standard variables `OTEL_…` ask for it; else no exporter is imported."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
SPEAKS = "http/protobuf"
_REACH_SECONDS = 2.0


class TracingRefused(Exception):
    """What OTEL_… ask for can't be done."""


class Steps(Protocol):
    """Puts steps in spans."""

    def __call__(self, adapter: T, **spans: str) -> T:
        """The adapter, with the named methods in spans of these names."""


def _no_steps(adapter: T, **_spans: str) -> T:
    return adapter


def _no_requests(app: Any) -> Any:
    return app


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """What goes around each part of the service to trace it; by default nothing."""

    steps: Steps = _no_steps
    requests: Callable[[Any], Any] = _no_requests
    """An ASGI app, with its deliveries in spans."""
    interceptors: tuple[Any, ...] = ()
    """Of the gRPC server: calls in spans."""
    enqueuing: Callable[[], AbstractContextManager[Mapping[str, str]]] = lambda: nullcontext({})
    """Around the enqueuing of a job: what is to be stored with it."""
    running: Callable[[Any, Mapping[str, str]], AbstractContextManager[None]] = (
        lambda _media_id, _trace: nullcontext()
    )
    """Around the run of a medium's job, with what was stored."""
    log_processors: tuple[Any, ...] = ()
    """What adds the trace to events."""


UNTRACED = Tracing()


def endpoint(environment: Mapping[str, str] = os.environ) -> str:
    """Where spans go; empty if nowhere. Raises TracingRefused for what we can't speak."""
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    asked = (
        environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or ("http://localhost:4318" if exporter == "otlp" else "")
    )
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not asked or is_disabled or exporter == "none":
        return ""
    if exporter not in ("", "otlp"):
        raise TracingRefused(f"OTEL_TRACES_EXPORTER={exporter}: only otlp and none are known here")
    protocol = (
        environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or SPEAKS
    )
    if protocol != SPEAKS:
        raise TracingRefused(
            f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: only {SPEAKS} is spoken here"
        )
    return asked


async def check_collector() -> str:
    """Where spans go, in words. Raises TracingRefused; OSError if nobody listens there."""
    asked = endpoint()
    if not asked:
        return "off (set OTEL_EXPORTER_OTLP_ENDPOINT to send spans)"
    url = urlsplit(asked)
    port = url.port or (443 if url.scheme == "https" else 80)
    where = f"{url.hostname}:{port}"
    try:
        async with asyncio.timeout(_REACH_SECONDS):
            _, writer = await asyncio.open_connection(url.hostname, port)
    except (OSError, TimeoutError):
        raise OSError(f"no collector answers at {where}; spans are thrown away") from None
    writer.close()
    return f"spans go to {where}"


@contextmanager
def open_tracing() -> Iterator[Tracing]:
    """What traces, if that is asked for; what is left to send is sent when the context ends.

    Raises TracingRefused.
    """
    if not endpoint():
        yield UNTRACED
        return
    from media_service.infra.opentelemetry import calls, exporting, jobs, logs, requests, steps

    with exporting.exporting("mediad"):
        yield Tracing(
            steps=steps.traced,
            requests=requests.TracedRequests,
            interceptors=(calls.TracedCalls(),),
            enqueuing=jobs.enqueuing,
            running=jobs.running,
            log_processors=(logs.with_trace_id,),
        )
