"""The rows of media."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import orjson

from media_service.core.media import (
    Media,
    MediaId,
    MediaType,
    ProcessingStatus,
    Purpose,
    Sha256,
    UserId,
    Visibility,
)
from media_service.core.records import (
    options_from_record,
    options_to_record,
    rendition_from_record,
    rendition_to_record,
)
from media_service.infra.postgres.errors import translated
from media_service.infra.postgres.types import Executor

CHANGED_CHANNEL = "mediad_media_changed"
"""NOTIFY carries the id of each medium whose row changed, at commit."""

MEDIA_COLUMNS = (
    "id, owner, purpose, media_type, filename, content_type, size_bytes, sha256, width, height, "
    "duration_ms, blurhash, visibility, status, failure_code, options, renditions, "
    "policy_version, revision, idempotency_key, deduplicated, created_at, updated_at, "
    "expires_at, deleted_at, has_audio, pages, stage_percent"
)


class PostgresMedia:
    """Keeps `core.ports.MediaRows`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def find(self, ids: Sequence[MediaId]) -> dict[MediaId, Media]:
        """Those that are there."""
        with translated():
            rows = await self._executor.fetch(
                f"select {MEDIA_COLUMNS} from media where id = any($1)", ids
            )
        return {media.id: media for media in map(media_from_row, rows)}

    async def find_by_idempotency_key(self, owner: UserId, key: str) -> Media | None:
        """The medium this owner uploaded under this key, unless it was deleted."""
        with translated():
            row = await self._executor.fetchrow(
                f"select {MEDIA_COLUMNS} from media where owner = $1 and idempotency_key = $2 "
                "and idempotency_key <> '' and deleted_at is null",
                owner,
                key,
            )
        return media_from_row(row) if row else None

    async def insert(self, media: Media) -> None:
        """Add a row. Raises IdempotencyKeyReused if owner and key are taken."""
        values = _to_row(media)
        places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
        with translated():
            await self._executor.execute(
                f"insert into media ({MEDIA_COLUMNS}) values ({places})", *values
            )

    async def update(self, media: Media, *, revision: int) -> bool:
        """Write what can change, if the row may still change so."""
        with translated():
            changed = await self._executor.fetchval(
                """
                with changed as (
                    update media set
                        filename = $3, blurhash = $4, status = $5, failure_code = $6,
                        options = $7, renditions = $8, policy_version = $9, revision = $10,
                        idempotency_key = $11, updated_at = $12, deleted_at = $13,
                        stage_percent = $15
                    where id = $1 and revision = $2 and deleted_at is null
                        and (status not in ('completed', 'failed')
                            or (status, $5) = ('failed', 'completed')
                            or $10 <> revision or $13::timestamptz is not null)
                    returning id
                )
                select true from changed, pg_notify($14, changed.id::text)
                """,
                media.id,
                revision,
                media.filename,
                media.blurhash,
                media.status,
                media.failure_code,
                _options(media),
                _renditions(media),
                media.policy_version,
                media.revision,
                media.idempotency_key,
                media.updated_at,
                media.deleted_at,
                CHANGED_CHANNEL,
                media.stage_percent,
            )
        return bool(changed)

    async def note_progress(self, media_id: MediaId, *, revision: int, percent: int) -> bool:
        """Note how much of the stage under way is done; whether the row may still change so."""
        with translated():
            changed = await self._executor.fetchval(
                """
                with changed as (
                    update media set stage_percent = greatest(stage_percent, $3)
                    where id = $1 and revision = $2 and deleted_at is null
                        and status in ('pending', 'processing')
                    returning id
                )
                select true from changed, pg_notify($4, changed.id::text)
                """,
                media_id,
                revision,
                percent,
                CHANGED_CHANNEL,
            )
        return bool(changed)

    async def expired(
        self, now: datetime, *, limit: int, after: Media | None = None
    ) -> list[Media]:
        """Media past their expiry that are not deleted yet, oldest first, those that come after."""
        return await self._select(
            "expires_at <= $1 and deleted_at is null "
            "and ($2::timestamptz is null or (expires_at, id) > ($2, $3)) "
            "order by expires_at, id limit $4",
            now,
            after and after.expires_at,
            after and after.id,
            limit,
        )

    async def holding(self, sha256: Sha256, *, limit: int) -> list[Media]:
        """Media of this content that are not deleted."""
        return await self._select(
            "sha256 = $1 and deleted_at is null limit $2", bytes.fromhex(sha256), limit
        )

    async def failed(self, sha256: Sha256, *, code: str, limit: int) -> list[Media]:
        """Media of this content that are FAILED with this code, and not deleted."""
        return await self._select(
            "sha256 = $1 and deleted_at is null and status = 'failed' and failure_code = $2 "
            "limit $3",
            bytes.fromhex(sha256),
            code,
            limit,
        )

    async def owned_by(
        self, owner: UserId, *, after: MediaId | None = None, limit: int
    ) -> list[Media]:
        """The owner's media, deleted ones too, in the order of their ids, those that come after."""
        return await self._select(
            "owner = $1 and ($2::uuid is null or id > $2) order by id limit $3",
            owner,
            after,
            limit,
        )

    async def remove(self, ids: Sequence[MediaId]) -> None:
        """Remove the rows of media that are deleted, for good, and their events but the last.

        What is being posted right now can't be called back: the deletion waits until its lease is
        over, so that it comes last.
        """
        with translated():
            await self._executor.execute(
                """
                with removed as (
                    delete from media where id = any($1) and deleted_at is not null returning id
                ), given_up as (
                    delete from webhook_deliveries where failed_at is not null
                        and type <> 'media.deleted' and media_id in (select id from removed)
                ), untold as (
                    delete from webhook_deliveries where failed_at is null
                        and type <> 'media.deleted' and media_id in (select id from removed)
                    returning media_id, url, due_at
                )
                update webhook_deliveries deletion
                set due_at = greatest(deletion.due_at, before.due_at)
                from (
                    select media_id, url, max(due_at) as due_at from untold group by 1, 2
                ) before
                where deletion.media_id = before.media_id and deletion.url = before.url
                    and deletion.failed_at is null and deletion.type = 'media.deleted'
                """,
                ids,
            )

    async def remove_deleted(self, before: datetime, *, limit: int) -> int:
        """Remove rows of media deleted before this moment, for good; how many."""
        with translated():
            removed = await self._executor.fetch(
                "delete from media where id in (select id from media where deleted_at <= $1 "
                "order by deleted_at limit $2) returning id",
                before,
                limit,
            )
        return len(removed)

    async def _select(self, condition: str, *values: object) -> list[Media]:
        with translated():
            rows = await self._executor.fetch(
                f"select {MEDIA_COLUMNS} from media where {condition}", *values
            )
        return [media_from_row(row) for row in rows]


def _options(media: Media) -> str | None:
    return orjson.dumps(options_to_record(media.options)).decode() if media.options else None


def _renditions(media: Media) -> str:
    return orjson.dumps([rendition_to_record(r) for r in media.renditions]).decode()


def _to_row(media: Media) -> tuple[object, ...]:
    """The values of `MEDIA_COLUMNS`, in order."""
    return (
        media.id,
        media.owner,
        media.purpose,
        media.media_type,
        media.filename,
        media.content_type,
        media.size_bytes,
        bytes.fromhex(media.sha256),
        media.width,
        media.height,
        media.duration_ms,
        media.blurhash,
        media.visibility,
        media.status,
        media.failure_code,
        _options(media),
        _renditions(media),
        media.policy_version,
        media.revision,
        media.idempotency_key,
        media.deduplicated,
        media.created_at,
        media.updated_at,
        media.expires_at,
        media.deleted_at,
        media.has_audio,
        media.pages,
        media.stage_percent,
    )


def media_from_row(row: asyncpg.Record) -> Media:
    """The medium in a row of `MEDIA_COLUMNS`."""
    values = dict(row)
    options = values.pop("options")
    renditions = orjson.loads(values.pop("renditions"))
    return Media(
        id=MediaId(str(values.pop("id"))),
        purpose=Purpose(values.pop("purpose")),
        media_type=MediaType(values.pop("media_type")),
        # A deleted row loses its content when the sweeper takes it.
        sha256=Sha256((values.pop("sha256") or b"").hex()),
        visibility=Visibility(values.pop("visibility")),
        status=ProcessingStatus(values.pop("status")),
        options=options_from_record(orjson.loads(options)) if options else None,
        renditions=tuple(rendition_from_record(record) for record in renditions),
        **values,
    )
