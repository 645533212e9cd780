"""Brings a database's schema up to date: plain SQL files, in order, each once.

`NNNN_expand_*.sql` leaves what running instances use in place; `NNNN_contract_*.sql` follows when
none of them is left. Files that were applied must not change: their checksums are kept. The two
services may share a database: each has its own history.
"""

from __future__ import annotations

import dataclasses
import hashlib
from importlib import resources

import asyncpg

from user_service.postgres.errors import translated

_LOCK = 0x757365726400  # "userd": one migrating process at a time
_HISTORY = """
create table if not exists user_schema_migrations (
    name text primary key,
    checksum text not null,
    applied_at timestamptz not null default now()
)
"""


class MigrationChanged(Exception):
    """A migration that was applied is not what it was; restore the file it was applied from."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: {self.__doc__}")


@dataclasses.dataclass(frozen=True, slots=True)
class Migration:
    """One file of SQL."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the SQL, hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def all_migrations() -> list[Migration]:
    """Every migration this version ships, in order."""
    folder = resources.files("user_service") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [Migration(f.name.removesuffix(".sql"), f.read_text("utf-8")) for f in files]


async def migrate(url: str) -> list[str]:
    """Apply what is missing, one instance at a time; the names of what was applied.

    Raises MigrationChanged, DatabaseUnavailable.
    """
    with translated():
        connection = await asyncpg.connect(url, command_timeout=600)
        try:
            await connection.execute("select pg_advisory_lock($1)", _LOCK)
            # A table that is busy must not stall every query that queues up behind us.
            await connection.execute("set lock_timeout = '10s'")
            await connection.execute(_HISTORY)
            return await _apply_missing(connection)
        finally:
            await connection.close()


async def _apply_missing(connection: asyncpg.Connection[asyncpg.Record]) -> list[str]:
    rows = await connection.fetch("select name, checksum from user_schema_migrations")
    applied = {row["name"]: row["checksum"] for row in rows}
    missing = []
    for migration in all_migrations():
        if migration.name not in applied:
            await _apply(connection, migration)
            missing.append(migration.name)
        elif applied[migration.name] != migration.checksum:
            raise MigrationChanged(migration.name)
    return missing


async def _apply(connection: asyncpg.Connection[asyncpg.Record], migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(
            "insert into user_schema_migrations (name, checksum) values ($1, $2)",
            migration.name,
            migration.checksum,
        )
