"""A whole media service on fakes."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from fakes.clock import SettableClock
from fakes.in_memory_blobs import InMemoryBlobs, InMemoryStaging
from fakes.in_memory_cache import InMemoryCache
from fakes.in_memory_changes import InMemoryChanges
from fakes.in_memory_database import InMemoryDatabase, QueuedJob
from fakes.samples import a_declaration
from fakes.scripted_codecs import ScriptedCodecs, picture
from media_service.core.access import Signer, SigningKey
from media_service.core.developing import Developing, DevelopingLimits
from media_service.core.housekeeping import Keeping
from media_service.core.jobs import Queue, QueueLimits
from media_service.core.media import Media, ProcessingStatus
from media_service.core.ports import Cache
from media_service.core.purposes import DEFAULT_POLICIES, Policies
from media_service.core.service import Foundations, MediaService, media_service
from media_service.core.transformations import Offer, parse_sides
from media_service.core.watching import WatchingLimits

BASE_URL = "https://cdn.example"
GRACE = timedelta(hours=1)
KEY = SigningKey("k1", b"a secret of the tests")
LIMITS = DevelopingLimits(at_once=2)
OFFER = parse_sides("64,320,480,640")
QUEUE_LIMITS = QueueLimits()
WATCHING_LIMITS = WatchingLimits(at_once=20, pause_seconds=0.02, look_seconds=60)
TELL_SECONDS = 0.005


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FakeService:
    """One process's service, and what it stands on."""

    service: MediaService
    database: InMemoryDatabase
    staging: InMemoryStaging
    blobs: InMemoryBlobs
    codecs: ScriptedCodecs
    cache: InMemoryCache
    changes: InMemoryChanges
    clock: SettableClock
    developing: Developing
    signer: Signer

    async def upload(self, content: bytes | None = None, **declared: Any) -> Media:
        """Upload a picture, declared as Alice's profile picture but for what is given."""
        chunks = in_chunks(picture() if content is None else content)
        return await self.service.uploading.upload(a_declaration(**declared), chunks)

    async def upload_done(self, content: bytes | None = None, **declared: Any) -> Media:
        """Upload a picture and do all jobs; the medium as it is then."""
        media = await self.upload(content, **declared)
        await self.work()
        return self.database.media[media.id]

    async def work(self) -> None:
        """Do every job that is queued, once, and those that they queue."""
        while self.database.jobs:
            await self.do(self.database.jobs.pop(0))

    async def do(self, job: QueuedJob) -> ProcessingStatus:
        """Do a job, as the worker of its queue does."""
        processing = self.service.processing
        if job.queue is Queue.TRANSCODING:
            return await processing.transcode(job.media_id, revision=job.revision)
        return await processing.run(job.media_id, revision=job.revision, urgency=job.urgency)


async def in_chunks(content: bytes, *, size: int = 1000) -> AsyncIterator[bytes]:
    """The content in pieces."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


def fake_service(
    *,
    policies: Policies = DEFAULT_POLICIES,
    limits: DevelopingLimits = LIMITS,
    queue_limits: QueueLimits = QUEUE_LIMITS,
    watching_limits: WatchingLimits = WATCHING_LIMITS,
    beside: FakeService | None = None,
    clock: SettableClock | None = None,
    cache: Cache | None = None,
    offer: Offer = OFFER,
) -> FakeService:
    """A service on fakes of its own, or one of another process on the same database and blobs.

    The clock is its machine's; the database keeps that of whoever was there first.
    """
    clock = clock or (beside.clock if beside else SettableClock())
    database = beside.database if beside else InMemoryDatabase(clock)
    staging = InMemoryStaging()
    blobs = beside.blobs if beside else InMemoryBlobs()
    in_memory, codecs, signer = InMemoryCache(), ScriptedCodecs(), Signer((KEY,))
    changes = InMemoryChanges()
    service = media_service(
        Foundations(
            database=database,
            queue=database.queue,
            processes=database.processes,
            staging=staging,
            blobs=blobs,
            codecs=codecs,
            cache=cache or in_memory,
            changes=changes,
            clock=clock,
            signer=signer,
            base_url=BASE_URL,
            policies=policies,
            offer=offer,
            keeping=Keeping(grace=GRACE),
            queue_limits=queue_limits,
            developing_limits=limits,
            watching_limits=watching_limits,
            tell_seconds=TELL_SECONDS,
        )
    )
    return FakeService(
        service=service,
        database=database,
        staging=staging,
        blobs=blobs,
        codecs=codecs,
        cache=in_memory,
        changes=changes,
        clock=clock,
        developing=service.developing,
        signer=signer,
    )
