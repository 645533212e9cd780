"""Media noted for deletion."""

from __future__ import annotations

import uuid

from user_service.postgres.database import PostgresDatabase
from user_service.records import MediaId, PendingDeletion, UserId


class PostgresDeletions:
    """The media noted for deletion."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def claim(self, media_id: MediaId | None = None) -> PendingDeletion | None:
        """One that is due, or this one; None if there is none, or it is done."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                """
                update media_deletions
                set attempts = attempts + 1,
                    due_at = now() + interval '5 seconds' * 2 ^ least(attempts, 6)
                where done_at is null and media_id = (
                    select media_id from media_deletions
                    where done_at is null and (media_id = $1 or $1 is null and due_at <= now())
                    order by due_at limit 1 for update skip locked
                )
                returning media_id, user_id, attempts
                """,
                uuid.UUID(media_id) if media_id else None,
            )
        if row is None:
            return None
        return PendingDeletion(
            media_id=MediaId(str(row["media_id"])),
            user_id=UserId(row["user_id"]),
            attempts=row["attempts"],
        )

    async def done(self, media_id: MediaId) -> None:
        """It is deleted. It stays known for a day, so that it can't come back."""
        async with self._database.connection() as connection:
            await connection.execute(
                "update media_deletions set done_at = now() where media_id = $1",
                uuid.UUID(media_id),
            )

    async def count(self) -> int:
        """How many are not done yet."""
        async with self._database.connection() as connection:
            return int(
                await connection.fetchval(
                    "select count(*) from media_deletions where done_at is null"
                )
            )

    async def purge(self) -> None:
        """Forget those that were done a day ago."""
        async with self._database.connection() as connection:
            await connection.execute(
                "delete from media_deletions where done_at < now() - interval '1 day'"
            )
