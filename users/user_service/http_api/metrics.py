"""What is counted of HTTP requests."""

from __future__ import annotations

import platform
from importlib.metadata import version

from prometheus_client import Counter, Gauge, Histogram, Info

SECONDS = Histogram(
    "userd_http_request_seconds",
    "How long requests took, from their head to the last byte of the answer",
    ["route", "method", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
ERRORS = Counter("userd_http_errors", "Requests refused or failed, by stable code", ["code"])
IN_FLIGHT = Gauge("userd_http_in_flight_requests", "Requests being answered")

Info("userd_build", "What runs here").info(
    {"version": version("mediad-users"), "python": platform.python_version()}
)

_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE"})


def observe(*, route: str, method: str, status: int, seconds: float) -> None:
    """Count one request; status 0 is an answer that was cut, or never given."""
    known = method if method in _METHODS else "other"
    SECONDS.labels(route, known, f"{status // 100}xx" if status else "cut").observe(seconds)
