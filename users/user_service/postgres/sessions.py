"""Sessions, and the hashes of their refresh tokens."""

from __future__ import annotations

import uuid
from datetime import datetime

import asyncpg

from user_service.errors import InvalidRefreshToken
from user_service.postgres.database import Connection, PostgresDatabase
from user_service.records import Session, UserId


class PostgresSessions:
    """The sessions."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def open(
        self, session: Session, token_hash: bytes, *, at: datetime, until: datetime
    ) -> None:
        """Keep a new session and its first refresh token, good until then."""
        async with self._database.transaction() as connection:
            await connection.execute(
                """
                insert into sessions (id, account_id, created_at, ends_at)
                values ($1, $2, $3, $4)
                """,
                uuid.UUID(session.session_id),
                session.user_id,
                at,
                session.ends_at,
            )
            await _add_token(
                connection, token_hash, session_id=session.session_id, at=at, until=until
            )

    async def rotate(
        self, used: bytes, successor: bytes, *, at: datetime, until: datetime
    ) -> Session:
        """Use up a refresh token and keep its successor. Raises InvalidRefreshToken."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                """
                select s.id, s.account_id, s.ends_at, t.used_at,
                       s.ended_at is null and s.ends_at > $2 and t.expires_at > $2
                       and a.disabled_at is null as is_good
                from refresh_tokens t
                join sessions s on s.id = t.session_id
                join accounts a on a.id = s.account_id
                where t.hash = $1
                for update of s
                """,
                used,
                at,
            )
            if row is not None and await self._use(connection, row, used, at=at):
                session = _session(row)
                await _add_token(
                    connection, successor, session_id=session.session_id, at=at, until=until
                )
                return session
        # Outside: the end of the session must be committed.
        raise InvalidRefreshToken

    async def _use(
        self, connection: Connection, row: asyncpg.Record, used: bytes, *, at: datetime
    ) -> bool:
        """Whether the token was good for this; if it was used before, the session ends."""
        if not row["is_good"]:
            return False
        # The row was read before the session was locked: only the update sees the present.
        status = await connection.execute(
            "update refresh_tokens set used_at = $2 where hash = $1 and used_at is null", used, at
        )
        if status == "UPDATE 1":
            return True
        await connection.execute("update sessions set ended_at = $2 where id = $1", row["id"], at)
        return False

    async def end(self, token_hash: bytes, *, at: datetime) -> None:
        """End the session of this refresh token, used or not, if there is one."""
        async with self._database.connection() as connection:
            await connection.execute(
                """
                update sessions set ended_at = $2 where ended_at is null
                and id = (select session_id from refresh_tokens where hash = $1)
                """,
                token_hash,
                at,
            )

    async def is_live(self, session_id: str, *, user_id: UserId, at: datetime) -> bool:
        """Whether this session of this user has not ended and the user may come in."""
        try:
            session = uuid.UUID(session_id)
        except ValueError:
            return False
        async with self._database.connection() as connection:
            return bool(
                await connection.fetchval(
                    """
                    select true from sessions s join accounts a on a.id = s.account_id
                    where s.id = $1 and s.account_id = $2 and s.ended_at is null
                    and s.ends_at > $3 and a.disabled_at is null
                    """,
                    session,
                    user_id,
                    at,
                )
            )

    async def is_account(self, user_id: UserId) -> bool:
        """Whether somebody has registered here under this id."""
        async with self._database.connection() as connection:
            return bool(
                await connection.fetchval("select true from accounts where id = $1", user_id)
            )

    async def purge(self, *, before: datetime) -> None:
        """Forget what ended before then."""
        async with self._database.connection() as connection:
            await connection.execute(
                "delete from sessions where ends_at < $1 or ended_at < $1", before
            )
            await connection.execute("delete from refresh_tokens where expires_at < $1", before)


async def _add_token(
    connection: Connection, token_hash: bytes, *, session_id: str, at: datetime, until: datetime
) -> None:
    await connection.execute(
        """
        insert into refresh_tokens (hash, session_id, created_at, expires_at)
        values ($1, $2, $3, $4)
        """,
        token_hash,
        uuid.UUID(session_id),
        at,
        until,
    )


def _session(row: asyncpg.Record) -> Session:
    return Session(
        session_id=str(row["id"]), user_id=UserId(row["account_id"]), ends_at=row["ends_at"]
    )
