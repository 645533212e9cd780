"""What is counted of HTTP requests.

A request for a thumbnail takes microseconds, so it is counted in plain numbers of the one thread
that serves, which become metrics when Prometheus asks for them.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import version

from prometheus_client import REGISTRY, Info
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
_NAMES = (*(str(float(bound)) for bound in _BOUNDS), "+Inf")
_METHODS = frozenset({"GET", "HEAD"})
_CLASSES = {0: "cut", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}

Key = tuple[str, str, int]
"""Route, method and status of an answer; the status is 0 if it was cut."""
TellMetrics = Callable[[str], Awaitable[tuple[bytes, str]]]
"""Gives the metrics in a format that an Accept header asks for, and its content type."""


class _Tally:
    """How long the requests of one kind took."""

    def __init__(self) -> None:
        self.counts = [0] * len(_NAMES)
        self.seconds = 0.0

    def buckets(self) -> list[tuple[str, float]]:
        """How many took at most so long, as Prometheus wants it."""
        total, cumulative = 0, []
        for name, count in zip(_NAMES, self.counts, strict=True):
            total += count
            cumulative.append((name, float(total)))
        return cumulative


class RequestMetrics(Collector):
    """Counts requests."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._body_bytes = 0
        self._tallies: dict[tuple[str, str, str], _Tally] = {}
        self._by_key: dict[Key, _Tally] = {}
        self._errors: Counter[str] = Counter()

    def begin(self) -> None:
        """A request has come in."""
        self._in_flight += 1

    def end(self, key: Key, *, seconds: float, body_bytes: int) -> None:
        """It is over."""
        self._in_flight -= 1
        self._body_bytes += body_bytes
        tally = self._by_key.get(key) or self._find(key)
        tally.counts[bisect_left(_BOUNDS, seconds)] += 1
        tally.seconds += seconds

    def refuse(self, code: str) -> None:
        """A request is refused, or fails, with this code."""
        self._errors[code] += 1

    def _find(self, key: Key) -> _Tally:
        route, method, status = key
        known_method = method if method in _METHODS else "other"
        labels = (route, known_method, _CLASSES[status // 100])
        tally = self._tallies.setdefault(labels, _Tally())
        if known_method == method:  # other methods are the caller's words: not to be remembered
            self._by_key[key] = tally
        return tally

    def describe(self) -> Iterator[Metric]:
        """What `collect` gives, without asking for values."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """Everything counted so far."""
        seconds = HistogramMetricFamily(
            "mediad_http_request_seconds",
            "How long requests took, from their head to the last byte handed to the socket",
            labels=["route", "method", "status"],
        )
        for labels, tally in self._tallies.items():
            seconds.add_metric(labels, tally.buckets(), sum_value=tally.seconds)
        yield seconds
        yield CounterMetricFamily(
            "mediad_http_response_bytes",
            "Bytes of bodies handed to sockets",
            value=self._body_bytes,
        )
        errors = CounterMetricFamily(
            "mediad_http_errors", "Requests refused or failed, by stable code", labels=["code"]
        )
        for code, count in self._errors.items():
            errors.add_metric([code], count)
        yield errors
        yield GaugeMetricFamily(
            "mediad_http_in_flight_requests", "Requests being answered", value=self._in_flight
        )


METRICS = RequestMetrics()
"""Those of this process, in the default registry."""

REGISTRY.register(METRICS)
Info("mediad_build", "What runs here").info(
    {"version": version("mediad"), "python": platform.python_version()}
)


async def own_metrics(accept: str) -> tuple[bytes, str]:
    """The metrics of this process."""
    encode, content_type = choose_encoder(accept)
    return encode(REGISTRY), content_type
