"""What asyncpg's generic classes are to us."""

from __future__ import annotations

import asyncpg
from asyncpg.pool import PoolConnectionProxy

Pool = asyncpg.Pool[asyncpg.Record]
Connection = PoolConnectionProxy[asyncpg.Record]
Executor = Pool | Connection
