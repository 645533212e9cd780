"""Makes a database with as many media as a service has after years: one real row, multiplied.

Every row is a copy of one that the service wrote itself, so that it is as wide; ids, owners,
hashes and moments differ. Four media share a blob, and each blob has two of its renditions made.
Every twentieth medium is deleted, and so are those of every thousandth blob, which is condemned.
"""

from __future__ import annotations

import random
import re
import sys
import uuid
from collections.abc import Mapping
from contextlib import suppress

import asyncpg

BATCH = 500_000
HOLDERS = 4
"""How many media share a blob."""
MADE = 2
"""How many renditions each blob has."""
CONTENT = "int8send({n}::bigint)"
"""The bytes of the nth blob, in SQL: its number, so that its hash is a true one."""

_FIRST_MS, _APART_MS = 1_700_000_000_000, 3
"""When the first medium was made, as its id says, and how long after it the next."""

_BLOBS = {
    "sha256": f"sha256({CONTENT.format(n='n')})",
    "size_bytes": "8",
    "state": "case when n % 1000 = 0 then 'condemned' else 'live' end",
    "condemned_at": "case when n % 1000 = 0 then now() end",
}
_RENDITIONS = {
    "source": f"sha256({CONTENT.format(n='n')})",
    "size_bytes": "length(n::text || t.recipe_key)",
    "checksum": "sha256((n::text || t.recipe_key)::bytea)",
}
_MEDIA = {
    # As UUIDv7: the moment first, so that they come in order.
    "id": "(lpad(to_hex({first} + n * {apart}), 12, '0') || '7' || substr(md5(n::text), 1, 3) "
    "|| '8' || substr(md5(n::text), 4, 15))::uuid",
    "owner": "'user-' || hashint8(n % ({count} / 10 + 1))",
    "sha256": f"sha256({CONTENT.format(n='(n / {holders} + 1)')})",
    "idempotency_key": "case when n % 2 = 0 then '' else md5(n::text) end",
    "created_at": "now() - ({count} - n) * interval '1 second'",
    "updated_at": "now() - ({count} - n) * interval '1 second'",
    "deleted_at": "case when n % 20 = 0 or (n / {holders} + 1) % 1000 = 0 then now() end",
}


async def multiply(connection: asyncpg.Connection[asyncpg.Record], media: int) -> None:
    """Make that many media of the one that is there, with blobs, renditions and indexes."""
    blobs = media // HOLDERS + 1
    put_back = await _drop_indexes(connection)
    await _copy(connection, "blobs", _BLOBS, blobs, "where t.state = 'live' limit 1")
    await _copy(connection, "renditions", _RENDITIONS, blobs, f"order by recipe_key limit {MADE}")
    places = {
        name: expression.format(count=media, holders=HOLDERS, first=_FIRST_MS, apart=_APART_MS)
        for name, expression in _MEDIA.items()
    }
    await _copy(connection, "media", places, media, "limit 1")
    for statement in (*put_back, "vacuum (analyze) blobs, renditions, media", "checkpoint"):
        print(f"{statement[:70]} …", file=sys.stderr)
        with suppress(asyncpg.InsufficientPrivilegeError):  # only some may ask for a checkpoint
            await connection.execute(statement)


async def size_gb(connection: asyncpg.Connection[asyncpg.Record]) -> float:
    """How large the database is."""
    return float(await connection.fetchval("select pg_database_size(current_database())")) / 1e9


async def sequential_scans(connection: asyncpg.Connection[asyncpg.Record]) -> int:
    """How often one of the large tables was read from its beginning to its end."""
    return int(
        await connection.fetchval(
            "select sum(seq_scan) from pg_stat_user_tables "
            "where relname in ('media', 'blobs', 'renditions')"
        )
    )


async def _drop_indexes(connection: asyncpg.Connection[asyncpg.Record]) -> list[str]:
    """Drop what is quicker built or checked at once than row by row; how to put it back."""
    keys = await connection.fetch(
        "select conrelid::regclass::text as of, conname, pg_get_constraintdef(oid) as definition "
        "from pg_constraint where contype = 'f' and confrelid = 'blobs'::regclass"
    )
    for key in keys:
        await connection.execute(f"alter table {key['of']} drop constraint {key['conname']}")
    indexes = await connection.fetch(
        "select indexname, indexdef from pg_indexes where tablename in "
        "('media', 'blobs', 'renditions') and indexname not in (select conname from pg_constraint)"
    )
    for index in indexes:
        await connection.execute(f"drop index {index['indexname']}")
    return [
        *(index["indexdef"] for index in indexes),
        *(
            f"alter table {key['of']} add constraint {key['conname']} {key['definition']}"
            for key in keys
        ),
    ]


async def _copy(
    connection: asyncpg.Connection[asyncpg.Record],
    table: str,
    places: Mapping[str, str],
    count: int,
    which: str,
) -> None:
    """Insert `count` copies of a table's rows, with other values in these columns."""
    columns = [
        row["column_name"]
        for row in await connection.fetch(
            "select column_name from information_schema.columns "
            "where table_name = $1 and is_generated = 'NEVER' order by ordinal_position",
            table,
        )
    ]
    values = ", ".join(places.get(name, f"t.{name}") for name in columns)
    await connection.execute(f"create temp table template as select * from {table} t {which}")
    for start in range(1, count + 1, BATCH):
        end = min(start + BATCH - 1, count)
        await connection.execute(
            f"insert into {table} ({', '.join(columns)}) select {values} "
            f"from generate_series({start}::bigint, {end}::bigint) n, template t"
        )
        print(f"\r{table}: {end:,} of {count:,} rows", end="", file=sys.stderr)
    print(file=sys.stderr)
    await connection.execute("drop table template")


async def some_ids(
    connection: asyncpg.Connection[asyncpg.Record], *, media: int, count: int
) -> list[str]:
    """Ids of media that are not deleted, from all over the table."""
    ids: set[str] = set()
    while len(ids) < count:
        moment = _FIRST_MS + random.randrange(media) * _APART_MS
        found = await connection.fetchval(
            "select id from media where id >= $1 and deleted_at is null order by id limit 1",
            uuid.UUID(f"{moment:012x}70008000000000000000"),
        )
        ids |= {str(found)} if found else set()
    return list(ids)


def database_url(url: str, name: str) -> str:
    """The same server's other database."""
    return re.sub(r"/[a-z0-9_]+\?", f"/{name}?", url)
