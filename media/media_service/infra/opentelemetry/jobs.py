"""A trace on its way through the queue: stored with the job, taken up again when it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from media_service.infra.opentelemetry.steps import span

CONTEXT = TraceContextTextMapPropagator()
"""The trace, and nothing else that callers may have sent along."""


@contextmanager
def enqueuing() -> Iterator[Mapping[str, str]]:
    """What is to be stored with the job that is enqueued in this context."""
    with span("job enqueue", kind=SpanKind.PRODUCER):
        carrier: dict[str, str] = {}
        CONTEXT.inject(carrier)
        yield carrier


@contextmanager
def running(media_id: str, carrier: Mapping[str, str]) -> Iterator[None]:
    """The run of a job that was stored with this."""
    token = context.attach(CONTEXT.extract(carrier, context=context.Context()))
    try:
        with span("job develop", kind=SpanKind.CONSUMER, attributes={"media.id": media_id}):
            yield
    finally:
        context.detach(token)
