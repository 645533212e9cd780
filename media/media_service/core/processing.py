"""Processing: the work on a medium's renditions, asked for by callers and done by jobs."""

from __future__ import annotations

import dataclasses

from media_service.core.admitting import Admitting
from media_service.core.blobs import content_lock, verbatim_of
from media_service.core.developing import Developing
from media_service.core.errors import MediaError, MediaNotFound, is_passing
from media_service.core.jobs import Urgency
from media_service.core.media import (
    Media,
    MediaId,
    ProcessingStatus,
    UserId,
    require_owner,
)
from media_service.core.planning import plan_renditions
from media_service.core.ports import Cache, Clock, Database, Rows
from media_service.core.purposes import Policies
from media_service.core.renditions import ProcessingOptions

_OVER = frozenset({ProcessingStatus.COMPLETED, ProcessingStatus.FAILED})


class Processing:
    """Queues and does the work; a late or repeated job changes nothing."""

    def __init__(
        self,
        *,
        database: Database,
        cache: Cache,
        developing: Developing,
        admitting: Admitting,
        policies: Policies,
        clock: Clock,
    ) -> None:
        self._database = database
        self._cache = cache
        self._developing = developing
        self._admitting = admitting
        self._policies = policies
        self._clock = clock

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
        await rows.media.update(replanned, revision=media.revision)
        return replanned

    async def run(self, media_id: MediaId, *, revision: int) -> ProcessingStatus:
        """Do a job: make the renditions of this revision of a medium.

        Ends COMPLETED, or FAILED if the file is at fault. Raises what another attempt may not
        meet: errors of kind unavailable, limited or full.
        """
        media = (await self._database.latest.media.find([media_id])).get(media_id)
        if media is None or media.deleted_at is not None:
            return ProcessingStatus.CANCELLED
        if media.revision != revision or media.status in _OVER:
            return media.status
        await self._save(await self._begun(media))
        try:
            done = await self._completed(media)
        except MediaError as error:
            if is_passing(error):
                raise
            done = self._failed(media, error.code)
        return done.status if await self._save(done) else ProcessingStatus.CANCELLED

    async def give_up(self, media_id: MediaId, *, revision: int, code: str) -> None:
        """Mark a medium FAILED after the last attempt, if this is still its revision."""
        media = (await self._database.latest.media.find([media_id])).get(media_id)
        if media and media.revision == revision and media.status not in _OVER:
            await self._save(self._failed(media, code))

    async def postpone(self, media_id: MediaId, *, revision: int) -> None:
        """Mark a medium PENDING again whose job is put off for long."""
        media = (await self._database.latest.media.find([media_id])).get(media_id)
        if media and media.revision == revision and media.status is ProcessingStatus.PROCESSING:
            await self._save(media.advanced(ProcessingStatus.PENDING, self._clock()))

    async def _begun(self, media: Media) -> Media:
        """PROCESSING, with the sizes of the renditions that are there already."""
        keys = [r.recipe.key for r in media.renditions]
        stored = await self._database.latest.renditions.find(media.sha256, recipe_keys=keys)
        made = stored | verbatim_of(media)
        renditions = tuple(
            made[r.recipe.key].as_made(r) if r.recipe.key in made else r for r in media.renditions
        )
        begun = media.advanced(ProcessingStatus.PROCESSING, self._clock())
        return dataclasses.replace(begun, renditions=renditions)

    async def _completed(self, media: Media) -> Media:
        made = await self._developing.ensure(media)
        renditions = tuple(made[r.recipe.key].as_made(r) for r in media.renditions)
        completed = media.advanced(ProcessingStatus.COMPLETED, self._clock())
        return dataclasses.replace(completed, renditions=renditions)

    def _failed(self, media: Media, code: str) -> Media:
        return media.advanced(ProcessingStatus.FAILED, self._clock(), failure_code=code)

    async def _save(self, media: Media) -> bool:
        await self._cache.drop([media.id])
        saved = await self._database.latest.media.update(media, revision=media.revision)
        await self._cache.drop([media.id])
        return saved
