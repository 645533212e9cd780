"""Sends spans to a collector, at its own pace and ours: a request never waits for one.

Spans wait in a queue that drops what does not fit, and a thread takes them from there. What all
this does is set by the standard variables `OTEL_…`.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

SHUTDOWN_SECONDS = 2.0
"""What is left is sent within this time when the process stops, or is lost."""


@contextmanager
def exporting(service: str) -> Iterator[None]:
    """Send the spans of this process to the collector while the context lasts."""
    # A collector that is away is told in one line a batch, not in one line a try.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    exporter = OTLPSpanExporter()
    provider = TracerProvider(resource=_resource(service), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(SHUTDOWN_SECONDS)


def _resource(service: str) -> Resource:
    """What all spans of this process say of it; OTEL_SERVICE_NAME and others go before."""
    ours = {"service.name": service, "service.version": version(service)}
    ours["service.instance.id"] = uuid.uuid4().hex
    return Resource.create(ours).merge(OTELResourceDetector().detect())
