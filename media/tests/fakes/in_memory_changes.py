"""Changes that a test tells of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from media_service.core.media import MediaId


class InMemoryChanges:
    """Keeps `core.ports.Changes`."""

    def __init__(self) -> None:
        self.followers: list[tuple[Callable[[MediaId], None], Callable[[bool], None]]] = []

    @contextmanager
    def follow(
        self, *, on_change: Callable[[MediaId], None], on_gap: Callable[[bool], None]
    ) -> Iterator[None]:
        self.followers.append((on_change, on_gap))
        try:
            yield
        finally:
            self.followers.remove((on_change, on_gap))

    def tell(self, media_id: MediaId) -> None:
        for on_change, _ in self.followers:
            on_change(media_id)

    def tell_gap(self, is_gap: bool) -> None:
        for _, on_gap in self.followers:
            on_gap(is_gap)
