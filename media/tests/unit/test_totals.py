"""Metrics of several processes, added up."""

from __future__ import annotations

from media_service.processes.totals import Families, add, heard, shown, sum_of, told
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families


class Process:
    """What one process counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("calls", "Calls", ["code"], registry=self.registry)
        self.seconds = Histogram("seconds", "Seconds", buckets=(1, 2), registry=self.registry)
        self.waiting = Gauge("waiting", "Waiting", registry=self.registry)
        self.started = Gauge("process_start_time_seconds", "Start", registry=self.registry)

    def families(self) -> Families:
        return heard(told(self.registry))


def values(families: Families) -> dict[str, float]:
    """The samples by name, labels left out but for `le`, as Prometheus reads them."""
    content, _ = shown(families, "")
    return {
        s.name + s.labels.get("le", "") + s.labels.get("code", ""): s.value
        for family in text_string_to_metric_families(content.decode())
        for s in family.samples
    }


def test_counters_histograms_and_gauges_add_up() -> None:
    one, other = Process(), Process()
    one.calls.labels("OK").inc(2)
    other.calls.labels("OK").inc(3)
    other.calls.labels("NOT_FOUND").inc()
    one.seconds.observe(0.5)
    other.seconds.observe(1.5)
    one.waiting.set(4)
    other.waiting.set(1)

    total = values(sum_of([one.families(), other.families()], gone={}))

    assert (total["calls_totalOK"], total["calls_totalNOT_FOUND"]) == (5, 1)
    assert (total["seconds_bucket1.0"], total["seconds_bucket2.0"]) == (1, 2)
    assert (total["seconds_count"], total["seconds_sum"]) == (2, 2.0)
    assert total["waiting"] == 5


def test_what_a_dead_process_counted_stays_and_what_it_was_does_not() -> None:
    dead, alive, gone = Process(), Process(), Families()
    dead.calls.labels("OK").inc(7)
    dead.waiting.set(9)
    alive.calls.labels("OK").inc(1)

    add(gone, dead.families(), is_gone=True)
    total = values(sum_of([alive.families()], gone=gone))

    assert total["calls_totalOK"] == 8
    assert total["waiting"] == 0


def test_the_team_is_as_old_as_its_oldest_process() -> None:
    one, other = Process(), Process()
    one.started.set(100)
    other.started.set(200)

    total = values(sum_of([one.families(), other.families()], gone={}))

    assert total["process_start_time_seconds"] == 100


def test_adding_up_changes_nothing_of_what_was_told() -> None:
    one = Process()
    one.calls.labels("OK").inc()
    families = one.families()

    for _ in range(2):
        assert values(sum_of([families, families], gone={}))["calls_totalOK"] == 2


def test_both_forms_are_spoken() -> None:
    families = Process().families()

    text, plain = shown(families, "*/*")
    openmetrics, other = shown(families, "application/openmetrics-text; version=1.0.0")

    assert plain.startswith("text/plain")
    assert other.startswith("application/openmetrics-text")
    assert not text.endswith(b"# EOF\n")
    assert openmetrics.endswith(b"# EOF\n")
