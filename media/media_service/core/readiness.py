"""Whether this process can serve: what a balancer asks, whatever it asks it through."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping

Check = Callable[[], Awaitable[None]]
Report = Callable[[str, Exception | None], None]
"""Told of a backend that has gone away, and why; and with None, that it is back."""
CHECK_SECONDS = 2.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How the process and each of its backends are."""

    is_draining: bool
    missing: tuple[str, ...]
    """Backends that are away and without which nothing can be served."""
    degraded: tuple[str, ...]
    """Backends that are away and are done without."""
    names: tuple[str, ...]

    @property
    def is_ready(self) -> bool:
        """Whether to send calls here."""
        return not (self.is_draining or self.missing)


def _pass_over(_name: str, _error: Exception | None) -> None:
    """Say nothing."""


class Readiness:
    """Looks at the backends: those that are `needed`, and those that are merely `helpful`."""

    def __init__(
        self,
        *,
        needed: Mapping[str, Check],
        helpful: Mapping[str, Check] | None = None,
        draining: asyncio.Event | None = None,
        report: Report = _pass_over,
    ) -> None:
        self._needed = needed
        self._helpful = {} if helpful is None else helpful
        self._report = report
        self._away: set[str] = set()
        self.draining = draining or asyncio.Event()
        """Set when the end has begun."""

    async def look(self) -> State:
        """How it is right now, after 2 seconds at the latest; at once when the end has begun."""
        if self.draining.is_set():
            return State(is_draining=True, missing=(), degraded=(), names=())
        checks = {**self._needed, **self._helpful}
        results = await asyncio.gather(*(self._is_well(n, c) for n, c in checks.items()))
        away = [name for name, is_well in zip(checks, results, strict=True) if not is_well]
        return State(
            is_draining=False,
            missing=tuple(name for name in away if name in self._needed),
            degraded=tuple(name for name in away if name not in self._needed),
            names=tuple(checks),
        )

    async def _is_well(self, name: str, check: Check) -> bool:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await check()
        except Exception as error:  # noqa: BLE001 - whatever it is, the backend is not ready
            if name not in self._away:
                self._away.add(name)
                self._report(name, error)
            return False
        if name in self._away:
            self._away.discard(name)
            self._report(name, None)
        return True
