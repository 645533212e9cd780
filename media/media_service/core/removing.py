"""Removing: bytes and rows of what nobody holds go, under the locks that uploads take.

A lock ends with its connection, without a word to its holder: so bytes are set aside first, and
go for good only when the same connection has committed after that. If it can't, they come back;
at once, or, if the process was killed, when what it left in the trash is resolved.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from media_service.core.blobs import (
    content_lock,
    developing_lock,
    is_of_deletion,
    labelled_at,
    parse_key,
    source_of,
)
from media_service.core.media import Sha256
from media_service.core.ports import Blobs, Database, Rows


class Removing:
    """Removes contents that are condemned, and objects that no row names."""

    def __init__(self, *, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    async def remove_content(self, sha256: Sha256, *, condemned_before: datetime) -> bool:
        """Remove a content that was condemned before this moment and still is; whether it was.

        Raises StorageUnavailable, DatabaseUnavailable; then it is all there.
        """
        locks = content_lock(sha256), developing_lock(sha256)
        async with self._blobs.deleting() as deletion, self._database.transaction(*locks) as rows:
            blob = (await rows.blobs.find([sha256])).get(sha256)
            if blob is None or blob.condemned_at is None or blob.condemned_at > condemned_before:
                return False  # revived, and perhaps condemned again, since it was listed
            renditions = await rows.renditions.made_of([sha256])
            await deletion.set_aside([blob.key, *(r.key for r in renditions)])
            await rows.blobs.remove(sha256)
        return True

    async def unheld(self, keys: Sequence[str]) -> list[str]:
        """Those of the keys that no row names. Keys of other shapes are not ours to judge.

        Raises DatabaseUnavailable.
        """
        return await self._unheld(self._database.latest, keys)

    async def remove_unheld(self, key: str) -> bool:
        """Remove what lies under the key, if no row names it; whether none did. Raises as above."""
        sha256 = source_of(key)
        locks = content_lock(sha256), developing_lock(sha256)
        async with self._blobs.deleting() as deletion, self._database.transaction(*locks) as rows:
            unheld = await self._unheld(rows, [key])
            await deletion.set_aside(unheld)
            await self._unheld(rows, [key])  # an answer proves that the lock was held meanwhile
        return bool(unheld)

    async def resolve_deletions(self, *, before: datetime) -> int:
        """Bring an end to deletions that killed processes left; how many objects that were.

        Everything comes back, and what no row names goes again. Raises as above.
        """
        resolved = 0
        for label in await self._blobs.labels():
            if is_of_deletion(label) and labelled_at(label) <= before:
                keys = await self._blobs.restore(label)
                for key in await self.unheld(keys):
                    await self.remove_unheld(key)
                resolved += len(keys)
        return resolved

    async def _unheld(self, rows: Rows, keys: Sequence[str]) -> list[str]:
        sources = list({parsed[0] for key in keys if (parsed := parse_key(key))})
        held = {blob.key for blob in (await rows.blobs.find(sources)).values()}
        held |= {rendition.key for rendition in await rows.renditions.made_of(sources)}
        return [key for key in keys if parse_key(key) and key not in held]
