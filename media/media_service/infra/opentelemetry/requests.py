"""A span for each delivery over HTTP.

Readers are strangers: they begin no trace of ours and decide on none. What trace they say they
are in is linked to.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from media_service.core.errors import MediaError
from media_service.core.media import parse_media_id
from media_service.infra.opentelemetry.jobs import CONTEXT
from media_service.infra.opentelemetry.steps import tracer

_PREFIX = "/media/"


class TracedRequests:
    """An ASGI app, with deliveries in spans."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not scope["path"].startswith(_PREFIX):
            await self._app(scope, receive, send)
            return
        with tracer.start_as_current_span(
            "delivery",
            context=context.Context(),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"], "http.route": _PREFIX},
            links=_links(scope),
            record_exception=False,
        ) as span:
            _tell_media_id(span, scope["path"])
            await self._app(scope, receive, _told_to(span, send))


def _links(scope: Any) -> list[Link]:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    sent = trace.get_current_span(CONTEXT.extract(headers, context.Context())).get_span_context()
    return [Link(sent)] if sent.is_valid else []


def _tell_media_id(span: Span, path: str) -> None:
    """The medium of the path, if it is one's id: other words are the reader's own."""
    with suppress(MediaError):
        span.set_attribute("media.id", parse_media_id(path.split("/")[2]))


def _told_to(span: Span, send: Any) -> Any:
    async def told(message: Any) -> None:
        if message["type"] == "http.response.start":
            span.set_attribute("http.response.status_code", message["status"])
            if message["status"] >= 500:
                span.set_status(Status(StatusCode.ERROR))
        await send(message)

    return told
