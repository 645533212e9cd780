"""The rows of blobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from media_service.core.blobs import Blob, BlobState
from media_service.core.formats import Format
from media_service.core.media import Sha256
from media_service.core.renditions import Inspection
from media_service.infra.postgres.errors import translated
from media_service.infra.postgres.types import Executor


class PostgresBlobs:
    """Keeps `core.ports.BlobRows`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def find(self, sha256s: Sequence[Sha256]) -> dict[Sha256, Blob]:
        """Those that are there, live or condemned."""
        with translated():
            rows = await self._executor.fetch(
                "select sha256, size_bytes, content_type, width, height, frames, duration_ms, "
                "has_transparency, blurhash, state, condemned_at from blobs "
                "where sha256 = any($1)",
                [bytes.fromhex(sha256) for sha256 in sha256s],
            )
        return {blob.sha256: blob for blob in map(_from_row, rows)}

    async def keep(self, blob: Blob) -> None:
        """Add the blob, or revive it if it was condemned."""
        told = blob.inspection
        with translated():
            await self._executor.execute(
                """
                insert into blobs (sha256, size_bytes, content_type, width, height, frames,
                    duration_ms, has_transparency, blurhash)
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                on conflict (sha256) do update set state = 'live', condemned_at = null
                where blobs.state <> 'live'
                """,
                bytes.fromhex(blob.sha256),
                blob.size_bytes,
                blob.format,
                told.width,
                told.height,
                told.frames,
                told.duration_ms,
                told.has_transparency,
                told.blurhash,
            )

    async def condemn_unheld(self, sha256: Sha256, *, now: datetime) -> None:
        """Condemn the blob if no medium that is not deleted holds it."""
        with translated():
            await self._executor.execute(
                """
                update blobs set state = 'condemned', condemned_at = $2
                where sha256 = $1 and state = 'live' and not exists (
                    select from media where media.sha256 = $1 and deleted_at is null)
                """,
                bytes.fromhex(sha256),
                now,
            )

    async def condemned(self, before: datetime, *, limit: int) -> list[Sha256]:
        """Blobs condemned before this moment."""
        with translated():
            rows = await self._executor.fetch(
                "select sha256 from blobs where state = 'condemned' and condemned_at <= $1 "
                "order by condemned_at limit $2",
                before,
                limit,
            )
        return [Sha256(row["sha256"].hex()) for row in rows]

    async def remove(self, sha256: Sha256) -> None:
        """Remove the blob's row and those of its renditions."""
        with translated():
            await self._executor.execute(
                "delete from blobs where sha256 = $1", bytes.fromhex(sha256)
            )


def _from_row(row: asyncpg.Record) -> Blob:
    return Blob(
        sha256=Sha256(row["sha256"].hex()),
        size_bytes=row["size_bytes"],
        format=Format(row["content_type"]),
        inspection=Inspection(
            width=row["width"],
            height=row["height"],
            frames=row["frames"],
            duration_ms=row["duration_ms"],
            has_transparency=row["has_transparency"],
            blurhash=row["blurhash"],
        ),
        state=BlobState(row["state"]),
        condemned_at=row["condemned_at"],
    )
