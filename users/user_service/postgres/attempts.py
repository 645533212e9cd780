"""Uploads that were begun and whose end nobody has seen yet."""

from __future__ import annotations

import uuid
from datetime import timedelta

import asyncpg

from user_service.postgres.database import Connection, PostgresDatabase
from user_service.records import MediaId, UploadAttempt, UserId

_PUT_OFF = timedelta(minutes=1)


class PostgresAttempts:
    """The attempts, by the clock of the database."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def begin(
        self, user_id: UserId, idempotency_key: str, *, due_in: timedelta
    ) -> UploadAttempt:
        """Note an attempt; it takes the place of an earlier one with the same key."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                """
                insert into upload_attempts (user_id, idempotency_key, due_at)
                values ($1, $2, now() + $3::interval)
                on conflict (user_id, idempotency_key) do update
                set begun_at = excluded.begun_at, due_at = excluded.due_at
                returning user_id, idempotency_key, begun_at
                """,
                user_id,
                idempotency_key,
                due_in,
            )
        assert row is not None
        return _attempt(row)

    async def claim(self) -> UploadAttempt | None:
        """One that is due, which nobody else is given for a minute."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                """
                update upload_attempts set due_at = now() + $1::interval
                where (user_id, idempotency_key) = (
                    select user_id, idempotency_key from upload_attempts
                    where due_at <= now() order by due_at limit 1 for update skip locked
                )
                returning user_id, idempotency_key, begun_at
                """,
                _PUT_OFF,
            )
        return _attempt(row) if row else None

    async def end(self, attempt: UploadAttempt) -> None:
        """Forget it, unless another has taken its place."""
        async with self._database.connection() as connection:
            await end_attempt(connection, attempt)

    async def settle(self, attempt: UploadAttempt, media_id: MediaId) -> bool:
        """End it with its medium standing; False if that was noted for deletion meanwhile."""
        async with self._database.transaction() as connection:
            await end_attempt(connection, attempt)
            is_noted = await connection.fetchval(
                "select true from media_deletions where media_id = $1", uuid.UUID(media_id)
            )
        return not is_noted


async def end_attempt(connection: Connection, attempt: UploadAttempt) -> None:
    """Forget an attempt, in whatever transaction the connection is in."""
    await connection.execute(
        "delete from upload_attempts where user_id = $1 and idempotency_key = $2 and begun_at = $3",
        attempt.user_id,
        attempt.idempotency_key,
        attempt.begun_at,
    )


def _attempt(row: asyncpg.Record) -> UploadAttempt:
    return UploadAttempt(
        user_id=UserId(row["user_id"]),
        idempotency_key=row["idempotency_key"],
        begun_at=row["begun_at"],
    )
