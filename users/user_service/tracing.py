"""Tracing, if the standard variables `OTEL_…` ask for it; else no exporter is imported."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Network
from typing import Any
from urllib.parse import urlsplit

SPEAKS = "http/protobuf"
_REACH_SECONDS = 2.0
Networks = Sequence[IPv4Network | IPv6Network]


class TracingRefused(Exception):
    """What OTEL_… ask for can't be done."""


def _no_requests(app: Any) -> Any:
    return app


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """What goes around the service to trace it; by default nothing."""

    requests: Callable[[Any], Any] = _no_requests
    """An ASGI app, with its requests in spans."""
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
def open_tracing(*, trusted_proxies: Networks) -> Iterator[Tracing]:
    """What traces, if that is asked for; what is left to send is sent when the context ends.

    Traces that our own proxies began are continued. Raises TracingRefused.
    """
    if not endpoint():
        yield UNTRACED
        return
    from user_service import spans

    with spans.exporting("mediad-users", name="userd"):
        yield Tracing(
            requests=lambda app: spans.TracedRequests(app, trusted_proxies=trusted_proxies),
            log_processors=(spans.with_trace_id,),
        )
