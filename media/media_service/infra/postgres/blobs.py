"""The rows of blobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import structlog
from prometheus_client import Counter

from media_service.core.blobs import Blob, BlobState, HeldBlob
from media_service.core.formats import Format
from media_service.core.media import Sha256
from media_service.core.renditions import Inspection
from media_service.infra.postgres.errors import translated
from media_service.infra.postgres.types import Executor

_COLUMNS = (
    "sha256, size_bytes, content_type, width, height, frames, duration_ms, has_transparency, "
    "blurhash, has_video, has_audio, pages, state, condemned_at, damaged_at"
)
_DAMAGED = Counter("mediad_damaged_objects_total", "Originals whose bytes were found damaged")
log = structlog.get_logger()


class PostgresBlobs:
    """Keeps `core.ports.BlobRows`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def find(self, sha256s: Sequence[Sha256]) -> dict[Sha256, Blob]:
        """Those that are there, live or condemned."""
        with translated():
            rows = await self._executor.fetch(
                f"select {_COLUMNS} from blobs where sha256 = any($1)",
                [bytes.fromhex(sha256) for sha256 in sha256s],
            )
        return {blob.sha256: blob for blob in map(_from_row, rows)}

    async def keep(self, blob: Blob) -> None:
        """Add the blob, or revive it if it was condemned or damaged."""
        told = blob.inspection
        with translated():
            await self._executor.execute(
                """
                insert into blobs (sha256, size_bytes, content_type, width, height, frames,
                    duration_ms, has_transparency, blurhash, has_video, has_audio, pages)
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
                on conflict (sha256) do update
                    set state = 'live', condemned_at = null, damaged_at = null
                    where blobs.state <> 'live' or blobs.damaged_at is not null
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
                told.has_video,
                told.has_audio,
                told.pages,
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

    async def condemned(
        self, before: datetime, *, limit: int, after: Blob | None = None
    ) -> list[Blob]:
        """Blobs condemned before this moment, oldest first, those that come after."""
        with translated():
            rows = await self._executor.fetch(
                f"select {_COLUMNS} from blobs where state = 'condemned' and condemned_at <= $1 "
                "and ($2::timestamptz is null or (condemned_at, sha256) > ($2, $3)) "
                "order by condemned_at, sha256 limit $4",
                before,
                after and after.condemned_at,
                bytes.fromhex(after.sha256) if after else None,
                limit,
            )
        return [_from_row(row) for row in rows]

    async def note_damage(self, sha256: Sha256, *, now: datetime) -> bool:
        """Note that its bytes are missing or wrong; whether that is news."""
        with translated():
            noted = await self._executor.fetchval(
                "update blobs set damaged_at = $2 where sha256 = $1 and damaged_at is null "
                "returning true",
                bytes.fromhex(sha256),
                now,
            )
        if noted:
            _DAMAGED.inc()
            log.error("blob.damaged", sha256=sha256)
        return bool(noted)

    async def note_sound(self, sha256: Sha256) -> bool:
        """Note that its bytes are right; whether that is news."""
        with translated():
            noted = await self._executor.fetchval(
                "update blobs set damaged_at = null where sha256 = $1 and damaged_at is not null "
                "returning true",
                bytes.fromhex(sha256),
            )
        return bool(noted)

    async def count_damaged(self) -> int:
        """How many are noted as damaged."""
        with translated():
            return int(
                await self._executor.fetchval(
                    "select count(*) from blobs where damaged_at is not null"
                )
            )

    async def within(self, start: str, end: str, *, limit: int) -> list[HeldBlob]:
        """Those with hashes from `start` up to, not including, `end`, in their order."""
        with translated():
            rows = await self._executor.fetch(
                f"select {_COLUMNS}, exists (select from media "
                "where media.sha256 = blobs.sha256 and deleted_at is null) as is_held "
                "from blobs where sha256 >= $1 and sha256 < $2 order by sha256 limit $3",
                bytes.fromhex(start),
                bytes.fromhex(end),
                limit,
            )
        return [HeldBlob(_from_row(row), is_held=row["is_held"]) for row in rows]

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
            has_video=row["has_video"],
            has_audio=row["has_audio"],
            pages=row["pages"],
        ),
        state=BlobState(row["state"]),
        condemned_at=row["condemned_at"],
        damaged_at=row["damaged_at"],
    )
