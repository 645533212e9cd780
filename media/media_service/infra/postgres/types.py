"""What asyncpg's classes are to us. Quoted, because they are generic to type checkers only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"


class Executor(Protocol):
    """Runs statements: all on one connection, or each on any. Raises asyncpg's errors."""

    async def execute(self, query: str, *args: Any) -> str:
        """Run it; what was done."""

    async def executemany(self, command: str, args: Iterable[Sequence[Any]]) -> None:
        """Run it for each of the arguments; all or nothing."""

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Every row."""

    async def fetchrow(self, query: str, *args: Any) -> asyncpg.Record | None:
        """The first row."""

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first value of the first row."""
