from __future__ import annotations

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest
from fakes.samples import a_blob
from media_service.core.errors import DatabaseUnavailable
from media_service.infra.postgres.database import open_database
from media_service.infra.postgres.migrations import (
    MigrationChanged,
    all_migrations,
    migrate,
)

pytestmark = pytest.mark.needs_postgres

NAMES = [migration.name for migration in all_migrations()]
SNAPSHOT = Path(__file__).with_name("schema_snapshot.txt")
"""Our tables as they should be. Delete it and run the tests to have it written anew."""

_SCHEMA = r"""
select format('%s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
              case when a.attnotnull then ' not null' else '' end,
              ' default ' || pg_get_expr(d.adbin, d.adrelid)) as line
  from pg_attribute a join pg_class c on c.oid = a.attrelid
  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
 where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0
   and not a.attisdropped and c.relname not like 'procrastinate\_%'
union all
select indexdef from pg_indexes
 where schemaname = 'public' and tablename not like 'procrastinate\_%'
union all
select format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) from pg_constraint
 where connamespace = 'public'::regnamespace and contype <> 'n'
   and conrelid::regclass::text not like 'procrastinate\_%'
"""


async def _fetch(url: str, query: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def _execute(url: str, script: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def test_an_empty_database_is_brought_up_to_date(empty_database_url: str) -> None:
    assert await migrate(empty_database_url) == NAMES

    async with open_database(empty_database_url, max_connections=1) as database:
        await database.latest.blobs.keep(a_blob())


async def test_a_database_that_is_up_to_date_is_left_alone(empty_database_url: str) -> None:
    await migrate(empty_database_url)

    assert await migrate(empty_database_url) == []


async def test_four_instances_that_start_at_once_apply_each_migration_once(
    empty_database_url: str,
) -> None:
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(4)))

    assert sorted(applied) == [[], [], [], NAMES]
    assert await _fetch(empty_database_url, "select name from schema_migrations") == NAMES


async def test_only_what_is_missing_is_applied(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    await _fetch(empty_database_url, "drop schema public cascade")
    await _fetch(empty_database_url, "create schema public")
    await _fetch(
        empty_database_url,
        "create table schema_migrations (name text primary key, checksum text not null, "
        "applied_at timestamptz not null default now())",
    )
    first = all_migrations()[0]
    await _execute(empty_database_url, first.sql)
    await _fetch(
        empty_database_url,
        "insert into schema_migrations (name, checksum) "
        f"values ('{first.name}', '{first.checksum}') returning name",
    )

    assert await migrate(empty_database_url) == NAMES[1:]


async def test_a_migration_that_changed_since_it_was_applied_is_refused(
    empty_database_url: str,
) -> None:
    await migrate(empty_database_url)
    await _fetch(
        empty_database_url,
        f"update schema_migrations set checksum = 'x' where name = '{NAMES[0]}' returning name",
    )

    with pytest.raises(MigrationChanged, match=NAMES[0]):
        await migrate(empty_database_url)


async def test_a_migration_of_a_later_version_is_left_alone(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    await _fetch(
        empty_database_url,
        "insert into schema_migrations (name, checksum) values ('9999_later', 'x') returning name",
    )

    assert await migrate(empty_database_url) == []


async def test_a_database_that_is_away_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable):
        await migrate(f"postgresql://mediad@/mediad?host={tmp_path}&port=5432")


async def test_the_schema_is_the_one_that_is_written_down(database_url: str) -> None:
    lines = sorted(await _fetch(database_url, _SCHEMA))
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text("\n".join(lines) + "\n", "utf-8")

    assert SNAPSHOT.read_text("utf-8").splitlines() == lines


def test_migrations_are_numbered_and_say_what_becomes_of_running_instances() -> None:
    numbers = [re.fullmatch(r"(\d{4})_(?:expand|contract)_[a-z0-9_]+", name) for name in NAMES]

    assert all(numbers)
    assert len({match[1] for match in numbers if match}) == len(NAMES)
