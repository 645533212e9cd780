"""Audits: what rows, objects and renditions say of one content, and where they differ."""

from __future__ import annotations

import dataclasses
import enum
from datetime import datetime

from media_service.core.blobs import Blob, BlobState, HeldBlob, StoredObject, StoredRendition
from media_service.core.media import Sha256


class Difference(enum.StrEnum):
    """A way in which rows and bytes are not what they should be."""

    MISSING_ORIGINAL = "missing_original"
    """A blob's row, and no bytes."""
    WRONG_ORIGINAL = "wrong_original"
    """Bytes of another size than the blob's row says, or, looked at deeply, of another hash."""
    NOTED_DAMAGE = "noted_damage"
    """An original noted as damaged, of which nothing wrong can be seen without reading it."""
    MISSING_RENDITION = "missing_rendition"
    """A rendition's row, and no bytes."""
    WRONG_RENDITION = "wrong_rendition"
    """A rendition's bytes have another size or hash than its row says."""
    ORPHANED_OBJECT = "orphaned_object"
    """Bytes that no row names."""
    CONDEMNED_BUT_HELD = "condemned_but_held"
    """A blob that a medium holds, and that would be swept."""
    LIVE_BUT_UNHELD = "live_but_unheld"
    """A blob that no medium holds, and that would never be swept."""
    FORGOTTEN_MEDIA = "forgotten_media"
    """A medium that waits for a job that does not exist."""
    UNFINISHED_DELETION = "unfinished_deletion"
    """What a deletion set aside that was killed before its end."""
    ABANDONED_FILE = "abandoned_file"
    """What a process that is no more had staged on this machine."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One difference, and what it was found at: a key, an id or a label."""

    difference: Difference
    name: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """All that is known of one content: its row, its renditions' rows, and what is stored."""

    source: Sha256
    held: HeldBlob | None = None
    made: tuple[StoredRendition, ...] = ()
    objects: tuple[StoredObject, ...] = ()

    @property
    def size_bytes(self) -> int:
        """How much is stored of it."""
        return sum(found.size_bytes for found in self.objects)

    @property
    def made_of_live(self) -> tuple[StoredRendition, ...]:
        """Its renditions; none of what is on its way out, as bytes go before their rows do."""
        return self.made if self.held is None or self.held.is_held else ()


def differences(content: Content, *, settled_before: datetime) -> list[Finding]:
    """Where rows and objects differ, as far as that shows without reading bytes.

    Objects written since `settled_before` may be of uploads in flight, and are not judged.
    """
    stored = {found.key: found for found in content.objects}
    found = []
    named = set()
    if content.held:
        named.add(content.held.blob.key)
        found += _of_blob(content.held, stored.get(content.held.blob.key))
    named.update(rendition.key for rendition in content.made)
    for rendition in content.made_of_live:
        found += _of_rendition(rendition, stored.get(rendition.key))
    unnamed = (each for key, each in stored.items() if key not in named)
    found += [
        Finding(Difference.ORPHANED_OBJECT, each.key)
        for each in unnamed
        if each.written_at < settled_before
    ]
    return found


def _of_blob(held: HeldBlob, stored: StoredObject | None) -> list[Finding]:
    blob = held.blob
    is_condemned = blob.state is BlobState.CONDEMNED
    found = []
    if is_condemned and held.is_held:
        found.append(Finding(Difference.CONDEMNED_BUT_HELD, blob.key))
    if not is_condemned and not held.is_held:
        found.append(Finding(Difference.LIVE_BUT_UNHELD, blob.key))
    if held.is_held and (wrong := _wrong_with(blob, stored)):
        found.append(Finding(wrong, blob.key))
    return found


def _wrong_with(blob: Blob, stored: StoredObject | None) -> Difference | None:
    if stored is None:
        return Difference.MISSING_ORIGINAL
    if stored.size_bytes != blob.size_bytes:
        return Difference.WRONG_ORIGINAL
    return Difference.NOTED_DAMAGE if blob.damaged_at else None


def _of_rendition(rendition: StoredRendition, stored: StoredObject | None) -> list[Finding]:
    if stored is None:
        return [Finding(Difference.MISSING_RENDITION, rendition.key)]
    if stored.size_bytes != rendition.size_bytes:
        return [Finding(Difference.WRONG_RENDITION, rendition.key)]
    return []
