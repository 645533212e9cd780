"""What is counted of HTTP requests, cheaply: a request for a thumbnail takes microseconds."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = Histogram(
    "mediad_http_request_seconds",
    "How long requests took, from their head to the last byte handed to the socket",
    ["route", "method", "status"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
_BYTES = Counter("mediad_http_response_bytes", "Bytes of bodies handed to sockets")
_IN_FLIGHT = Gauge("mediad_http_in_flight_requests", "Requests being answered")

_METHODS = frozenset({"GET", "HEAD"})
_CUT = 0
_CLASSES = {_CUT: "cut", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}


class RequestMetrics:
    """Counts requests. The children of the histogram are bound when they are first needed."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._observed: dict[tuple[str, str, int], Histogram] = {}
        _IN_FLIGHT.set_function(lambda: self._in_flight)

    def begin(self) -> None:
        """A request has come in."""
        self._in_flight += 1

    def end(self, key: tuple[str, str, int], *, seconds: float, body_bytes: int) -> None:
        """It is over. The key is its route, method and status; 0 is an answer that was cut."""
        self._in_flight -= 1
        observed = self._observed.get(key) or self._bind(key)
        observed.observe(seconds)
        if body_bytes:
            _BYTES.inc(body_bytes)

    def _bind(self, key: tuple[str, str, int]) -> Histogram:
        route, method, status = key
        known_method = method if method in _METHODS else "other"
        child = _SECONDS.labels(route, known_method, _CLASSES[status // 100])
        # Methods are the caller's words: only ours may be remembered.
        if known_method == method:
            self._observed[key] = child
        return child
