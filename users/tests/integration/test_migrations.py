"""The schema: from nothing to its newest form, however often and by however many."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from user_service.postgres import migrations
from user_service.postgres.migrations import Migration, MigrationChanged, all_migrations, migrate

pytestmark = pytest.mark.needs_postgres


async def test_everything_is_applied_once(empty_database_url: str) -> None:
    names = [migration.name for migration in all_migrations()]
    assert await migrate(empty_database_url) == names
    assert await migrate(empty_database_url) == []


async def test_many_that_start_at_once_do_not_disturb_each_other(empty_database_url: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(4)))
    assert sorted(applied, key=len)[:3] == [[], [], []]


async def test_what_was_applied_may_not_change(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(empty_database_url)
    changed = [Migration(each.name, each.sql + " ") for each in all_migrations()]
    monkeypatch.setattr(migrations, "all_migrations", lambda: changed)
    with pytest.raises(MigrationChanged):
        await migrate(empty_database_url)


async def test_a_migration_that_fails_leaves_nothing(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [Migration("0001_expand_x", "create table x (); select 1/0")]
    monkeypatch.setattr(migrations, "all_migrations", lambda: broken)
    with pytest.raises(asyncpg.PostgresError):
        await migrate(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    assert await connection.fetchval("select to_regclass('x')") is None
    await connection.close()
