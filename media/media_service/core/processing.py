"""Processing: the work on a medium's renditions, asked for by callers and done by jobs."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import suppress

from media_service.core.admitting import Admitting
from media_service.core.blobs import as_made, content_lock
from media_service.core.developing import Developing, made_of
from media_service.core.errors import (
    DatabaseUnavailable,
    MediaError,
    MediaNotFound,
    RenditionNotReady,
    is_passing,
)
from media_service.core.jobs import Urgency
from media_service.core.media import (
    MOST_EQUAL,
    Media,
    MediaId,
    MediaType,
    ProcessingStatus,
    UserId,
    require_owner,
)
from media_service.core.planning import plan_renditions
from media_service.core.ports import Cache, Clock, Database, Rows
from media_service.core.purposes import Policies
from media_service.core.renditions import ProcessingOptions, Stage

TELL_SECONDS = 1.0
"""How often the progress of a medium is saved, at most, and whether it is wanted is asked."""
_OVER = frozenset({ProcessingStatus.COMPLETED, ProcessingStatus.FAILED})


class Processing:
    """Queues and does the work; a late or repeated job changes nothing."""

    def __init__(  # noqa: PLR0913 - what it stands on
        self,
        *,
        database: Database,
        cache: Cache,
        developing: Developing,
        admitting: Admitting,
        policies: Policies,
        clock: Clock,
        tell_seconds: float = TELL_SECONDS,
    ) -> None:
        self._database = database
        self._cache = cache
        self._developing = developing
        self._admitting = admitting
        self._policies = policies
        self._clock = clock
        self._tell_seconds = tell_seconds

    async def request(
        self,
        media_id: MediaId,
        *,
        user: UserId,
        options: ProcessingOptions | None,
        urgency: Urgency = Urgency.PERSON,
    ) -> Media:
        """Have the renditions made by these options; nothing changes if they already are.

        Raises MediaNotFound, NotTheOwner, QueueFull, DatabaseUnavailable.
        """
        found = await self._database.latest.media.find([media_id])
        media = self._live(require_owner(found.get(media_id), user, now=self._clock()))
        await self._admitting.admit(media.owner)
        await self._cache.drop([media_id])
        async with self._database.transaction(content_lock(media.sha256)) as rows:
            media = self._live((await rows.media.find([media_id])).get(media_id))
            if media.options == options and media.status is not ProcessingStatus.FAILED:
                return media
            media = await self._replanned(rows, media, options)
            await rows.jobs.enqueue_developing(media, urgency=urgency)
        await self._cache.drop([media_id])
        return media

    def _live(self, media: Media | None) -> Media:
        if media is None or media.is_gone(self._clock()):
            raise MediaNotFound
        return media

    async def _replanned(
        self, rows: Rows, media: Media, options: ProcessingOptions | None
    ) -> Media:
        blob = (await rows.blobs.find([media.sha256]))[media.sha256]
        wants_blurhash = options is None or options.generate_blurhash
        replanned = dataclasses.replace(
            media.advanced(ProcessingStatus.PENDING, self._clock()),
            options=options,
            blurhash=blob.inspection.blurhash if wants_blurhash else "",
            renditions=plan_renditions(
                self._policies.of[media.purpose].developing,
                format=blob.format,
                options=options,
                inspection=blob.inspection,
            ),
            policy_version=self._policies.version,
            stage_percent=0,
            revision=media.revision + 1,
        )
        made = await made_of(rows, replanned)
        replanned = dataclasses.replace(replanned, renditions=as_made(replanned, made))
        await rows.media.update(replanned, revision=media.revision)
        return replanned

    async def run(
        self, media_id: MediaId, *, revision: int, urgency: Urgency = Urgency.PERSON
    ) -> ProcessingStatus:
        """Do a job of the developing queue: the first stage of this revision of a medium.

        Ends COMPLETED if that is all there is to make, or FAILED if the file is at fault; else
        PROCESSING, with a job for the rest. Raises what another attempt may not meet: errors of
        kind unavailable, limited or full.
        """
        media = await self._find(media_id, revision=revision)
        if isinstance(media, ProcessingStatus):
            return media
        media = await self._shown(media)
        await self._save(media)
        try:
            await self._developing.ensure(media)
        except MediaError as error:
            return await self._ended(media, error)
        if media.is_slow:
            return await self._handed_over(media, urgency)
        return await self._completed(media)

    async def transcode(self, media_id: MediaId, *, revision: int) -> ProcessingStatus:
        """Do a job of the transcoding queue: every stage that is left, one after the other.

        What is made is shown at once, and stays if a later stage fails. Ends and raises as `run`.
        """
        media = await self._find(media_id, revision=revision)
        if isinstance(media, ProcessingStatus):
            return media
        for stage in media.stages:
            media = await self._shown(media)
            try:
                is_wanted = await self._save(media) and await self._make(media, stage)
            except MediaError as error:
                if media.media_type is MediaType.IMAGE and not is_passing(error):
                    return await self._completed_without(media, stage)
                return await self._ended(media, error)
            if not is_wanted:
                return ProcessingStatus.CANCELLED
        return await self._completed(media)

    async def _find(self, media_id: MediaId, *, revision: int) -> Media | ProcessingStatus:
        """The medium, or what there is to say to a job that comes too late for it."""
        media = (await self._database.latest.media.find([media_id])).get(media_id)
        if media is None or media.deleted_at is not None:
            return ProcessingStatus.CANCELLED
        if media.revision != revision or media.status in _OVER:
            return media.status
        return media

    async def _ended(self, media: Media, error: MediaError) -> ProcessingStatus:
        """FAILED, if it would fail again; raises the error if that may pass."""
        if is_passing(error):
            raise error
        return await self._saved(self._failed(media, error.code))

    async def _saved(self, media: Media) -> ProcessingStatus:
        return media.status if await self._save(media) else ProcessingStatus.CANCELLED

    async def _completed(self, media: Media) -> ProcessingStatus:
        shown = await self._shown(media, ProcessingStatus.COMPLETED)
        if not all(rendition.size_bytes for rendition in shown.renditions):
            raise RenditionNotReady  # something was found damaged meanwhile, and forgotten
        return await self._saved(shown)

    async def _completed_without(self, media: Media, stage: Stage) -> ProcessingStatus:
        """COMPLETED without what can't be made: a picture is whole without a film of it."""
        kept = tuple(r for r in media.renditions if r.stage is not stage)
        return await self._completed(dataclasses.replace(media, renditions=kept))

    async def _handed_over(self, media: Media, urgency: Urgency) -> ProcessingStatus:
        """Show the first stage, and have the rest made by another job: both or neither."""
        shown = await self._shown(media)
        await self._cache.drop([media.id])
        async with self._database.transaction() as rows:
            is_saved = await rows.media.update(shown, revision=media.revision)
            if is_saved:
                await rows.jobs.enqueue_transcoding(shown, urgency=urgency)
        await self._cache.drop([media.id])
        return shown.status if is_saved else ProcessingStatus.CANCELLED

    async def _make(self, media: Media, stage: Stage) -> bool:
        """Make a stage, and tell how far it is; False, and it is broken off, if nobody wants it."""
        progress = _Progress(already=media.stage_percent)
        ensuring = self._developing.ensure(media, stage=stage, on_progress=progress.note)
        making = asyncio.create_task(ensuring)
        try:
            while not making.done():
                await asyncio.wait({making}, timeout=self._tell_seconds)
                if not making.done() and not await self._is_wanted(media, stage, progress.news()):
                    return False
            await making
        finally:
            making.cancel()
            await asyncio.wait({making})
        return True

    async def _is_wanted(self, media: Media, stage: Stage, percent: int | None) -> bool:
        """Whether what is being made is still wanted; shows how far it is, if that is news.

        A long film gets a percent further in a minute, but is broken off within a second.
        """
        with suppress(DatabaseUnavailable):
            if percent is None:
                found = await self._find(media.id, revision=media.revision)
                is_wanted = isinstance(found, Media)
            else:
                is_wanted = await self._database.latest.media.note_progress(
                    media.id, revision=media.revision, percent=percent
                )
                await self._cache.drop([media.id])
            return is_wanted or await self._is_awaited(media, stage)
        return True

    async def _is_awaited(self, media: Media, stage: Stage) -> bool:
        """Whether all that is being made is waited for by equal bytes, or by a later revision."""
        making = {rendition.recipe for rendition in media.renditions if rendition.stage is stage}
        equal = await self._database.latest.media.holding(media.sha256, limit=MOST_EQUAL)
        return any(
            each.is_unfinished and making <= {rendition.recipe for rendition in each.renditions}
            for each in equal
        )

    async def give_up(self, media_id: MediaId, *, revision: int, code: str) -> None:
        """Mark a medium FAILED after the last attempt, if this is still its revision.

        A picture is COMPLETED without what can't be made, if the rest is there.
        """
        media = (await self._database.latest.media.find([media_id])).get(media_id)
        if not media or media.revision != revision or media.status in _OVER:
            return
        if media.media_type is MediaType.IMAGE and media.is_slow:
            with suppress(RenditionNotReady):
                await self._completed_without(media, Stage.COMPLETE)
                return
        await self._save(self._failed(media, code))

    async def postpone(self, media_id: MediaId, *, revision: int) -> None:
        """Mark a medium PENDING again whose job is put off for long."""
        media = (await self._database.latest.media.find([media_id])).get(media_id)
        if media and media.revision == revision and media.status is ProcessingStatus.PROCESSING:
            await self._save(media.advanced(ProcessingStatus.PENDING, self._clock()))

    async def _shown(
        self, media: Media, status: ProcessingStatus = ProcessingStatus.PROCESSING
    ) -> Media:
        """The medium in this state, with the sizes of the renditions that are there."""
        made = await self._developing.made(media)
        return media.advanced(status, self._clock()).with_made(as_made(media, made))

    def _failed(self, media: Media, code: str) -> Media:
        return media.advanced(ProcessingStatus.FAILED, self._clock(), failure_code=code)

    async def _save(self, media: Media) -> bool:
        await self._cache.drop([media.id])
        saved = await self._database.latest.media.update(media, revision=media.revision)
        await self._cache.drop([media.id])
        return saved


class _Progress:
    """How much of a stage is done, in per cent: what is news of it, and never less than before."""

    def __init__(self, *, already: int) -> None:
        self._told = already
        self._percent = already

    def note(self, share: float) -> None:
        """So much is done, from 0 to 1."""
        self._percent = max(self._percent, min(99, int(share * 100)))

    def news(self) -> int | None:
        """How much it is, if it is more than when this was asked before."""
        if self._percent == self._told:
            return None
        self._told = self._percent
        return self._percent
