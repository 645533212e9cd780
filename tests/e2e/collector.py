"""A collector of OpenTelemetry spans, as a server in this process."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

WAIT_SECONDS = 60


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What a service told of one step."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    attributes: dict[str, str]


class Collector:
    """Takes spans at `endpoint`; or, once it is told to, takes for ever and answers nothing."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.raw = b""
        self.refused = 0
        self.status = 200
        self.is_stalled = threading.Event()
        self.is_over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[Collector]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.is_over.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def trace_with(self, *names: str, media_id: str = "") -> list[Span]:
        """The spans of the first trace that has spans of all these names; waits for them."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            traces: dict[str, list[Span]] = {}
            for span in list(self.spans):
                traces.setdefault(span.trace_id, []).append(span)
            for spans in traces.values():
                is_about = not media_id or any(
                    span.attributes.get("media.id") == media_id for span in spans
                )
                if is_about and {span.name for span in spans} >= set(names):
                    return spans
            seen = sorted({(span.service, span.name) for span in list(self.spans)})
            assert time.monotonic() < deadline, f"no trace with {names}; seen: {seen}"
            time.sleep(0.05)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if collector.is_stalled.is_set():
                    collector.refused += 1
                    collector.is_over.wait()
                    self.close_connection = True
                    return
                if collector.status == 200:
                    collector.take(body)
                else:
                    collector.refused += 1
                self.send_response(collector.status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def take(self, body: bytes) -> None:
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        self.raw += body
        for resource in request.resource_spans:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_span(about["service.name"], span) for span in scope.spans]


def _span(service: str, span: object) -> Span:
    told: dict[str, str] = {}
    for each in span.attributes:  # type: ignore[attr-defined]
        told[each.key] = str(getattr(each.value, each.value.WhichOneof("value")))
    return Span(
        service=service,
        name=span.name,  # type: ignore[attr-defined]
        trace_id=span.trace_id.hex(),  # type: ignore[attr-defined]
        span_id=span.span_id.hex(),  # type: ignore[attr-defined]
        parent_id=span.parent_span_id.hex(),  # type: ignore[attr-defined]
        links=tuple(link.trace_id.hex() for link in span.links),  # type: ignore[attr-defined]
        attributes=told,
    )
