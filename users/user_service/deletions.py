"""Media that no profile holds any more: deleted at the media service, however long it is away."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog
from prometheus_client import Counter

from user_service.errors import Forbidden, NotFound, UserError
from user_service.ports import DeletionRows, MediaPort
from user_service.records import MediaId, PendingDeletion

_HURRY_SECONDS = 3.0
_DONE = Counter("userd_media_deletions", "Media deleted because no profile holds them", ["result"])

log = structlog.get_logger()


class Deletions:
    """Works off what was noted for deletion. Any number of instances may do so at once."""

    def __init__(self, *, rows: DeletionRows, media: MediaPort) -> None:
        self._rows = rows
        self._media = media

    async def hurry(self, media_id: MediaId) -> bool:
        """Try this one at once; whether it is gone. If not, it goes later."""
        with suppress(UserError, TimeoutError):
            async with asyncio.timeout(_HURRY_SECONDS):
                return await self._do(media_id)
        return False

    async def work_off(self) -> int:
        """Delete what is due; how many. Stops at the first that can't be."""
        count = 0
        with suppress(UserError):
            while await self._do(None):
                count += 1
        return count

    async def _do(self, media_id: MediaId | None) -> bool:
        pending = await self._rows.claim(media_id)
        if pending is None:
            return False
        await self._delete(pending)
        await self._rows.done(pending.media_id)
        return True

    async def _delete(self, pending: PendingDeletion) -> None:
        try:
            await self._media.delete(pending.media_id, user_id=pending.user_id)
        except (NotFound, Forbidden) as error:
            # Nothing will make it ours to delete: it is gone, or never was.
            log.warning("deletions.given_up", media_id=pending.media_id, code=error.code)
            _DONE.labels("given_up").inc()
        except UserError as error:
            _DONE.labels("put_off").inc()
            log.info("deletions.put_off", media_id=pending.media_id, code=error.code)
            raise
        else:
            _DONE.labels("deleted").inc()
