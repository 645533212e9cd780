"""The rows of renditions that have been made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import asyncpg

from media_service.core.blobs import StoredRendition
from media_service.core.media import Sha256
from media_service.core.recipes import TRANSFORMED
from media_service.infra.postgres.errors import translated
from media_service.infra.postgres.types import Executor

_COLUMNS = "source, recipe_key, version, content_type, width, height, size_bytes, checksum"


class PostgresRenditions:
    """Keeps `core.ports.RenditionRows`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def find(
        self, source: Sha256, *, recipe_keys: Iterable[str]
    ) -> dict[str, StoredRendition]:
        """Those that are there, by recipe key."""
        with translated():
            rows = await self._executor.fetch(
                f"select {_COLUMNS} from renditions where source = $1 and recipe_key = any($2)",
                bytes.fromhex(source),
                list(recipe_keys),
            )
        return {row["recipe_key"]: _from_row(row) for row in rows}

    async def find_version(self, source: Sha256, *, version: str) -> StoredRendition | None:
        """One made by the recipe of this version."""
        with translated():
            row = await self._executor.fetchrow(
                f"select {_COLUMNS} from renditions where source = $1 and version = $2",
                bytes.fromhex(source),
                version,
            )
        return _from_row(row) if row else None

    async def made_of(self, sources: Sequence[Sha256]) -> list[StoredRendition]:
        """Every one made of these originals."""
        with translated():
            rows = await self._executor.fetch(
                f"select {_COLUMNS} from renditions where source = any($1)",
                [bytes.fromhex(source) for source in sources],
            )
        return [_from_row(row) for row in rows]

    async def transformed(self, source: Sha256, *, but: int) -> list[StoredRendition]:
        """Those of this original that URLs asked for, but for so many of the newest."""
        with translated():
            rows = await self._executor.fetch(
                f"""
                select {_COLUMNS} from renditions
                where source = $1 and starts_with(recipe_key, $2)
                order by created_at desc, recipe_key offset $3
                """,
                bytes.fromhex(source),
                TRANSFORMED,
                but,
            )
        return [_from_row(row) for row in rows]

    async def put(self, renditions: Sequence[StoredRendition]) -> None:
        """Add them, or replace those of the same recipe."""
        with translated():
            await self._executor.executemany(
                f"""
                insert into renditions ({_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8)
                on conflict (source, recipe_key) do update set
                    width = excluded.width, height = excluded.height,
                    size_bytes = excluded.size_bytes, checksum = excluded.checksum
                """,
                [_to_row(rendition) for rendition in renditions],
            )

    async def forget(self, renditions: Sequence[StoredRendition]) -> None:
        """Remove their rows, unless they were replaced meanwhile."""
        with translated():
            await self._executor.executemany(
                "delete from renditions where source = $1 and recipe_key = $2 and checksum = $3",
                [
                    (bytes.fromhex(r.source), r.recipe_key, bytes.fromhex(r.checksum))
                    for r in renditions
                ],
            )


def _to_row(rendition: StoredRendition) -> tuple[object, ...]:
    return (
        bytes.fromhex(rendition.source),
        rendition.recipe_key,
        rendition.version,
        rendition.content_type,
        rendition.width,
        rendition.height,
        rendition.size_bytes,
        bytes.fromhex(rendition.checksum),
    )


def _from_row(row: asyncpg.Record) -> StoredRendition:
    values = dict(row)
    return StoredRendition(
        source=Sha256(values.pop("source").hex()),
        checksum=Sha256(values.pop("checksum").hex()),
        **values,
    )
