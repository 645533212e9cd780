"""What asyncpg's classes are to us. Quoted, because they are generic to type checkers only."""

from __future__ import annotations

from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
Executor: TypeAlias = "Pool | Connection"
