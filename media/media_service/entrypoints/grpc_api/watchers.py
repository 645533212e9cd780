"""Who watches: how many there are, and how many of one connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

from media_service.core.errors import TooManyWatchers

MOST_OF_A_CONNECTION = 800
"""Below the streams that a connection may have, so that its other calls are never kept out."""
_WATCHERS = Gauge("mediad_watchers", "Callers that watch a medium")


class Watchers:
    """Counts them by their connections."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

    @contextmanager
    def joined(self, connection: str) -> Iterator[None]:
        """Count one more while the context lasts. Raises TooManyWatchers."""
        if self._of[connection] >= MOST_OF_A_CONNECTION:
            raise TooManyWatchers
        self._of[connection] += 1
        _WATCHERS.inc()
        try:
            yield
        finally:
            _WATCHERS.dec()
            self._of[connection] -= 1
            if not self._of[connection]:
                del self._of[connection]
