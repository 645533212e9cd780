"""Spans of requests, by OpenTelemetry. A request never waits for the collector.

Spans wait in a queue that drops what does not fit, and a thread takes them from there.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

SHUTDOWN_SECONDS = 2.0
"""What is left is sent within this time when the process stops, or is lost."""
_UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})

_tracer = trace.get_tracer("userd")
_traceparent = TraceContextTextMapPropagator()


@contextmanager
def exporting(distribution: str, *, name: str) -> Iterator[None]:
    """Send the spans of this process to the collector while the context lasts."""
    # A collector that is away is told in one line a batch, not in one line a try.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    ours = {"service.name": name, "service.version": version(distribution)}
    ours["service.instance.id"] = uuid.uuid4().hex
    exporter = OTLPSpanExporter()
    provider = TracerProvider(
        resource=Resource.create(ours).merge(OTELResourceDetector().detect()),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(SHUTDOWN_SECONDS)


class TracedRequests:
    """An ASGI app, with each request in a span.

    Strangers begin no trace of ours: what they say is linked to. What our own proxies say is
    continued.
    """

    def __init__(self, app: Any, *, trusted_proxies: Sequence[IPv4Network | IPv6Network]) -> None:
        self._app = app
        self._trusted = trusted_proxies

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        sent = _traceparent.extract(_headers(scope), Context())
        is_ours = self._is_ours(scope)
        with _tracer.start_as_current_span(
            scope["method"],
            context=sent if is_ours else Context(),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"]},
            links=() if is_ours else _links(sent),
            record_exception=False,
        ) as span:
            await self._app(scope, receive, _told_to(span, send))
            _tell_route(span, scope)

    def _is_ours(self, scope: Any) -> bool:
        try:
            address = ip_address(scope["client"][0])
        except (TypeError, ValueError):
            return False
        return any(address in network for network in self._trusted)


def with_trace_id(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The event with the id of the trace it is part of."""
    current = trace.get_current_span().get_span_context()
    if current.is_valid:
        event["trace_id"] = format(current.trace_id, "032x")
    return event


def _headers(scope: Any) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _links(sent: Context) -> list[Link]:
    found = trace.get_current_span(sent).get_span_context()
    return [Link(found)] if found.is_valid else []


def _tell_route(span: Span, scope: Any) -> None:
    """The path's pattern, and of its words only the medium's id."""
    route = str(getattr(scope.get("route"), "path", "other"))
    span.update_name(f"{scope['method']} {route}")
    span.set_attribute("http.route", route)
    media_id = (scope.get("path_params") or {}).get("media_id", "")
    try:
        span.set_attribute("media.id", str(uuid.UUID(media_id)))
    except ValueError:
        return


def _told_to(span: Span, send: Any) -> Any:
    async def told(message: Any) -> None:
        if message["type"] == "http.response.start":
            span.set_attribute("http.response.status_code", message["status"])
            if message["status"] >= 500:
                span.set_status(Status(StatusCode.ERROR))
        await send(message)

    return told
