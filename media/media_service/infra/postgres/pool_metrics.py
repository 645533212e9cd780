"""What the pool of connections tells Prometheus when it asks."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Gauge

from media_service.infra.postgres.types import Pool

_CONNECTIONS = Gauge(
    "mediad_database_connections", "Connections to the database, by what they do", ["state"]
)
_WAITING = Gauge("mediad_database_waiting", "Calls that wait for a connection to the database")


def watch_pool(pool: Pool, *, waiting: Callable[[], int]) -> None:
    """Tell of this pool from now on."""
    in_use = _CONNECTIONS.labels("in_use")
    in_use.set_function(lambda: pool.get_size() - pool.get_idle_size())
    _CONNECTIONS.labels("idle").set_function(pool.get_idle_size)
    _WAITING.set_function(waiting)
