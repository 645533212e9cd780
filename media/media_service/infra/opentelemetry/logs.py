"""The trace in every log line."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from opentelemetry import trace


def with_trace_id(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The event with the id of the trace it is part of."""
    current = trace.get_current_span().get_span_context()
    if current.is_valid:
        event["trace_id"] = format(current.trace_id, "032x")
    return event
