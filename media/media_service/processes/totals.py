"""Metrics of several processes as one.

Each process counts for itself, at no price beyond its own; what they counted is added up when
Prometheus asks. What a process has told is kept when it dies, so that counters never fall.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

_GROWING = frozenset({"counter", "histogram", "summary"})
_OTHERWISE: Mapping[str, Callable[[float, float], float]] = {
    "python_info": max,
    "mediad_build": max,
    "mediad_condemned_oldest_seconds": max,
    "mediad_jobs_failed": max,
    "mediad_jobs_oldest_waiting_seconds": max,
    "mediad_jobs_parked": max,
    "mediad_jobs_running": max,
    "mediad_jobs_waiting": max,
    "mediad_storage_free_bytes": max,
    "mediad_storage_size_bytes": max,
    "mediad_staging_bytes": max,
    "process_max_fds": max,
    "process_start_time_seconds": min,
}
"""Gauges that mean nothing when they are added up."""

Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""Name and labels of a sample."""


@dataclasses.dataclass(slots=True)
class _Family:
    type: str
    documentation: str
    values: dict[Key, float]


Families: TypeAlias = dict[str, _Family]


def told(registry: CollectorRegistry) -> bytes:
    """Everything this process counts, for another to read."""
    return orjson.dumps(
        [
            (family.name, family.type, family.documentation, list(_samples(family)))
            for family in registry.collect()
        ]
    )


def _samples(family: Metric) -> Iterator[tuple[str, dict[str, str], float]]:
    for sample in family.samples:
        if not sample.name.endswith("_created"):
            yield sample.name, sample.labels, float(sample.value)


def heard(told_by_one: bytes) -> Families:
    """What a process told."""
    families: Families = {}
    for name, kind, documentation, samples in orjson.loads(told_by_one):
        values = {(n, tuple(labels.items())): _number(value) for n, labels, value in samples}
        families[name] = _Family(kind, documentation, values)
    return families


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)  # JSON knows no NaN


def add(total: Families, more: Families, *, is_gone: bool = False) -> None:
    """Add `more` to the total; of a process that is gone, only what never falls."""
    for name, family in more.items():
        if is_gone and family.type not in _GROWING:
            continue
        known = total.setdefault(name, _Family(family.type, family.documentation, {}))
        join = _OTHERWISE.get(name, float.__add__)
        for key, value in family.values.items():
            known.values[key] = join(known.values[key], value) if key in known.values else value


def sum_of(all_told: Iterable[Families], *, gone: Families) -> Families:
    """The total of what living processes told and what dead ones left."""
    total: Families = {}
    for families in all_told:
        add(total, families)
    add(total, gone)
    return total


class _Told(Collector):
    """Families as a registry wants them."""

    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for name, family in self._families.items():
            metric = Metric(name, family.documentation, family.type)
            metric.samples = [Sample(n, dict(la), v) for (n, la), v in family.values.items()]
            yield metric


def shown(families: Families, accept: str) -> tuple[bytes, str]:
    """The metrics in a format that a request accepts, and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(families))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
