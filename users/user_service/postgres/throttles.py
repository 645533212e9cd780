"""What was taken of allowances.

One moment per key says it all: when the allowance is whole again. Taking one moves it by the time
that one takes to come back; it may not move further ahead of now than the whole allowance takes.
"""

from __future__ import annotations

from datetime import timedelta

from user_service.ports import Allowance
from user_service.postgres.database import PostgresDatabase


class PostgresThrottles:
    """The counts of all instances together, by the clock of the database."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def take(self, key: bytes, allowance: Allowance) -> timedelta:
        """Take one; zero if there was one, else how long until there is one."""
        async with self._database.connection() as connection:
            taken = await connection.fetchval(
                """
                insert into throttles as t (key, whole_at) values ($1, now() + $2::interval)
                on conflict (key) do update
                set whole_at = greatest(t.whole_at, now()) + $2::interval
                where greatest(t.whole_at, now()) + $2::interval <= now() + $3::interval
                returning true
                """,
                key,
                allowance.interval,
                allowance.per,
            )
            if taken:
                return timedelta()
            wait: timedelta | None = await connection.fetchval(
                """
                select whole_at + $2::interval - $3::interval - now()
                from throttles where key = $1
                """,
                key,
                allowance.interval,
                allowance.per,
            )
        return max(wait or timedelta(), timedelta(milliseconds=1))

    async def give_back(self, key: bytes, allowance: Allowance) -> None:
        """Undo one take."""
        async with self._database.connection() as connection:
            await connection.execute(
                "update throttles set whole_at = whole_at - $2::interval where key = $1",
                key,
                allowance.interval,
            )

    async def purge(self) -> None:
        """Forget the keys of which nothing is taken."""
        async with self._database.connection() as connection:
            await connection.execute("delete from throttles where whole_at < now()")
