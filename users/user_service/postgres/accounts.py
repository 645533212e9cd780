"""Accounts."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from user_service.errors import UsernameTaken
from user_service.postgres.database import PostgresDatabase
from user_service.records import Account, UserId


class PostgresAccounts:
    """The accounts."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def add(self, account: Account, *, at: datetime) -> None:
        """Keep a new account and its empty profile. Raises UsernameTaken."""
        try:
            async with self._database.transaction() as connection:
                await connection.execute(
                    """
                    insert into accounts (id, username, password_hash, created_at)
                    values ($1, $2, $3, $4)
                    """,
                    account.user_id,
                    account.username,
                    account.password_hash,
                    at,
                )
                await connection.execute(
                    """
                    insert into profiles (user_id, username, display_name, bio, updated_at)
                    values ($1, $2, '', '', $3)
                    """,
                    account.user_id,
                    account.username,
                    at,
                )
        except asyncpg.UniqueViolationError as error:
            raise UsernameTaken from error

    async def find(self, username: str) -> Account | None:
        """The account of this normalised name."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                """
                select id, username, password_hash, disabled_at is not null as is_disabled
                from accounts where username = $1
                """,
                username,
            )
        if row is None:
            return None
        return Account(
            user_id=UserId(row["id"]),
            username=row["username"],
            password_hash=row["password_hash"],
            is_disabled=row["is_disabled"],
        )

    async def rehash(self, account: Account, password_hash: str) -> None:
        """Keep another hash of the same password, unless it was changed meanwhile."""
        async with self._database.connection() as connection:
            await connection.execute(
                "update accounts set password_hash = $3 where id = $1 and password_hash = $2",
                account.user_id,
                account.password_hash,
                password_hash,
            )
