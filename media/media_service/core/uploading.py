"""Uploading: bytes come in, are checked, stored for good, and answered for."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from media_service.core.admitting import Admitting
from media_service.core.blobs import Blob, as_made, content_lock
from media_service.core.codec_ports import Codecs
from media_service.core.developing import made_of
from media_service.core.errors import (
    BrokenFile,
    ChecksumMismatch,
    EmptyFile,
    FileTooLarge,
    IdempotencyKeyReused,
    SizeMismatch,
    TooLong,
    UnsupportedType,
)
from media_service.core.formats import Format, check_declared
from media_service.core.media import Media, MediaType, ProcessingStatus, Sha256, new_media_id
from media_service.core.planning import plan_renditions
from media_service.core.ports import Blobs, Clock, Database, Rows, StagedFile, Staging
from media_service.core.purposes import Policies, Policy
from media_service.core.repairing import Repairing
from media_service.core.sniffing import SNIFF_BYTES, settled, sniff
from media_service.core.uploads import Declared, declare

SMALLEST_FILE_BYTES = 12
"""Fewer bytes than this hold no file of any format, whatever they begin with."""


class Uploading:
    """Takes in one file at a time per call, in bounded memory."""

    def __init__(  # noqa: PLR0913 - what it stands on
        self,
        *,
        database: Database,
        staging: Staging,
        blobs: Blobs,
        codecs: Codecs,
        admitting: Admitting,
        repairing: Repairing,
        policies: Policies,
        clock: Clock,
    ) -> None:
        self._repairing = repairing
        self._database = database
        self._staging = staging
        self._blobs = blobs
        self._codecs = codecs
        self._admitting = admitting
        self._policies = policies
        self._clock = clock

    async def upload(self, declared: Declared, chunks: AsyncIterator[bytes | memoryview]) -> Media:
        """Store a file; when this returns it is safe and its URLs work.

        Raises what `declare` raises; EmptyFile, FileTooLarge, SizeMismatch, ChecksumMismatch,
        UnsupportedType, TypeMismatch; what `Codecs.inspect` raises; IdempotencyKeyReused;
        QueueFull, StorageFull, StorageUnavailable, DatabaseUnavailable. Then nothing of it is kept.
        """
        declared = declare(declared)
        await self._admitting.admit(declared.owner)
        policy = self._policies.of[declared.purpose]
        async with self._staging.new() as staged:
            admission = _Admission(declared, policy, self._codecs.formats())
            format = await admission.receive(staged, chunks)
            earlier = await self._earlier(self._database.latest, declared, staged.sha256)
            if earlier and not earlier.is_gone(self._clock()):
                return earlier
            blob = await self._inspected_and_flushed(staged, format)
            admission.check_inspected(blob)
            # Before the lock is taken, so that nobody waits for a slow store while it is held.
            await self._blobs.put_ahead(blob.key, staged)
            return await self._store(declared, policy, blob, staged)

    async def _earlier(self, rows: Rows, declared: Declared, sha256: Sha256) -> Media | None:
        """What this key was answered with before."""
        if not declared.idempotency_key:
            return None
        earlier = await rows.media.find_by_idempotency_key(declared.owner, declared.idempotency_key)
        if earlier and (earlier.sha256, earlier.purpose) != (sha256, declared.purpose):
            raise IdempotencyKeyReused
        return earlier

    async def _inspected_and_flushed(self, staged: StagedFile, format: Format) -> Blob:
        """Both at once; and both are over, however this ends, before the staged file goes."""
        flushing = asyncio.create_task(staged.flush())
        try:
            return await self._inspected(staged, format)
        finally:
            await flushing

    async def _inspected(self, staged: StagedFile, format: Format) -> Blob:
        """The blob these bytes are; equal bytes are decoded only once."""
        known = (await self._database.latest.blobs.find([staged.sha256])).get(staged.sha256)
        if known:
            return known
        inspection = await self._codecs.inspect(staged.path, format=format)
        return Blob(
            sha256=staged.sha256,
            size_bytes=staged.size_bytes,
            format=settled(format, inspection),
            inspection=inspection,
        )

    async def _store(
        self, declared: Declared, policy: Policy, blob: Blob, staged: StagedFile
    ) -> Media:
        async with self._database.transaction(content_lock(blob.sha256)) as rows:
            earlier, now = await self._earlier(rows, declared, blob.sha256), await rows.now()
            if earlier and not earlier.is_gone(now):
                return earlier
            if earlier:  # expired, and not swept yet: its key is free again
                await rows.media.update(earlier.deleted(now), revision=earlier.revision)
            known = (await rows.blobs.find([blob.sha256])).get(blob.sha256)
            is_damaged = known is not None and known.damaged_at is not None
            await rows.blobs.keep(blob)
            healed = await self._repairing.reopen(rows, blob.sha256) if is_damaged else []
            media = self._media(declared, policy, blob, now=now, is_known=bool(known))
            media = await _with_what_is_made(rows, media)
            await rows.media.insert(media)
            if media.status is ProcessingStatus.PENDING:
                await rows.jobs.enqueue_developing(media)
            # Last, so that whatever the rows refuse leaves no bytes behind.
            await self._blobs.put(blob.key, staged, anew=is_damaged)
        await self._repairing.announce(healed)
        return media

    def _media(
        self, declared: Declared, policy: Policy, blob: Blob, *, now: datetime, is_known: bool
    ) -> Media:
        inspection, options = blob.inspection, declared.options
        return Media(
            id=new_media_id(),
            owner=declared.owner,
            purpose=declared.purpose,
            media_type=blob.format.media_type,
            filename=declared.filename,
            content_type=blob.format.value,
            size_bytes=blob.size_bytes,
            sha256=blob.sha256,
            width=inspection.width,
            height=inspection.height,
            duration_ms=inspection.duration_ms,
            blurhash=inspection.blurhash if options is None or options.generate_blurhash else "",
            visibility=declared.visibility or policy.visibility,
            status=ProcessingStatus.PENDING,
            failure_code="",
            options=options,
            renditions=plan_renditions(
                policy.developing, format=blob.format, options=options, inspection=inspection
            ),
            has_audio=inspection.has_audio,
            pages=inspection.pages,
            policy_version=self._policies.version,
            revision=1,
            idempotency_key=declared.idempotency_key,
            deduplicated=is_known,
            created_at=now,
            updated_at=now,
            expires_at=now + policy.lifetime if policy.lifetime else None,
        )


class _Admission:
    """Decides, as bytes arrive, whether to go on taking them."""

    def __init__(self, declared: Declared, policy: Policy, formats: frozenset[Format]) -> None:
        self._declared = declared
        self._policy = policy
        self._formats = formats

    async def receive(
        self, staged: StagedFile, chunks: AsyncIterator[bytes | memoryview]
    ) -> Format:
        """Write the chunks to the staged file; what format they are."""
        head, format, limit = bytearray(), None, self._policy.most_bytes
        if (self._declared.size_bytes or 0) > limit:
            raise FileTooLarge
        async for chunk in chunks:
            if format is None:
                head += chunk[: SNIFF_BYTES - len(head)]
                if len(head) == SNIFF_BYTES:
                    format = self._admit(bytes(head))
                    limit = self._policy.max_bytes[format.media_type]
            if max(staged.size_bytes + len(chunk), self._declared.size_bytes or 0) > limit:
                raise FileTooLarge
            await staged.write(chunk)
        self._check_whole(staged)
        format = format or self._admit(bytes(head))
        if staged.size_bytes > self._policy.max_bytes[format.media_type]:
            raise FileTooLarge
        return format

    def check_inspected(self, blob: Blob) -> None:
        """Raise if what only an inspection tells is not what the purpose takes."""
        limit = self._policy.max_bytes.get(blob.format.media_type)
        if limit is None:
            raise UnsupportedType
        if blob.size_bytes > limit:
            raise FileTooLarge
        lasting = timedelta(milliseconds=blob.inspection.duration_ms)
        if blob.format.media_type is not MediaType.IMAGE and lasting > self._policy.max_duration:
            raise TooLong

    def _admit(self, head: bytes) -> Format:
        if len(head) < SMALLEST_FILE_BYTES:
            raise BrokenFile
        format = sniff(head)
        if format not in self._formats or format.media_type not in self._policy.max_bytes:
            raise UnsupportedType
        check_declared(
            format, content_type=self._declared.content_type, filename=self._declared.filename
        )
        return format

    def _check_whole(self, staged: StagedFile) -> None:
        if not staged.size_bytes:
            raise EmptyFile
        if self._declared.size_bytes not in (None, staged.size_bytes):
            raise SizeMismatch
        if self._declared.sha256 not in ("", staged.sha256):
            raise ChecksumMismatch


async def _with_what_is_made(rows: Rows, media: Media) -> Media:
    """The medium with what equal recipes made of equal bytes; COMPLETED if that is everything."""
    made = await made_of(rows, media)
    is_whole = all(r.recipe.key in made for r in media.renditions)
    status = ProcessingStatus.COMPLETED if is_whole else media.status
    return dataclasses.replace(media, renditions=as_made(media, made), status=status)
