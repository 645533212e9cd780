"""The media service as its entrypoints see it, and how it is put together."""

from __future__ import annotations

import dataclasses

from media_service.core.access import Links, Signer
from media_service.core.admitting import Admitting
from media_service.core.auditing import Auditing
from media_service.core.codec_ports import Codecs
from media_service.core.deleting import Deleting
from media_service.core.delivering import Delivering
from media_service.core.developing import Developing, DevelopingLimits
from media_service.core.erasing import Erasing
from media_service.core.housekeeping import Housekeeping, Keeping
from media_service.core.job_ports import JobQueue, Processes
from media_service.core.jobs import QueueLimits
from media_service.core.ports import Blobs, Cache, Changes, Clock, Database, Staging
from media_service.core.processing import TELL_SECONDS, Processing
from media_service.core.purposes import Policies
from media_service.core.queueing import Queueing
from media_service.core.reading import Reading
from media_service.core.repairing import Repairing
from media_service.core.scrubbing import Scrubbing
from media_service.core.signing import Signing
from media_service.core.transformations import Offer
from media_service.core.transforming import Transforming
from media_service.core.uploading import Uploading
from media_service.core.watching import WATCHING_LIMITS, Watching, WatchingLimits


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Foundations:
    """What a service stands on: ports that are open, and an operator's choices."""

    database: Database
    queue: JobQueue
    processes: Processes
    staging: Staging
    blobs: Blobs
    codecs: Codecs
    cache: Cache
    changes: Changes
    clock: Clock
    signer: Signer
    base_url: str
    policies: Policies
    offer: Offer
    keeping: Keeping
    queue_limits: QueueLimits
    developing_limits: DevelopingLimits
    watching_limits: WatchingLimits = WATCHING_LIMITS
    tell_seconds: float = TELL_SECONDS
    """How long there is between two tellings of how far a film is."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MediaService:
    """Everything the service does, each doing by its name."""

    uploading: Uploading
    reading: Reading
    watching: Watching
    signing: Signing
    deleting: Deleting
    developing: Developing
    processing: Processing
    delivering: Delivering
    transforming: Transforming
    housekeeping: Housekeeping
    queueing: Queueing
    processes: Processes
    auditing: Auditing
    scrubbing: Scrubbing
    erasing: Erasing
    links: Links
    policies: Policies
    offer: Offer
    clock: Clock


def media_service(on: Foundations) -> MediaService:
    """Everything the service does, on these foundations: a flat list, from what others need on."""
    links = Links(on.base_url, on.signer)
    reading = Reading(database=on.database, cache=on.cache, clock=on.clock)
    deleting = Deleting(database=on.database, cache=on.cache, clock=on.clock)
    admitting = Admitting(queue=on.queue, limits=on.queue_limits)
    repairing = Repairing(database=on.database, cache=on.cache, clock=on.clock)
    developing = Developing(
        database=on.database,
        staging=on.staging,
        blobs=on.blobs,
        codecs=on.codecs,
        repairing=repairing,
        limits=on.developing_limits,
    )
    delivering = Delivering(
        database=on.database,
        reading=reading,
        developing=developing,
        repairing=repairing,
        blobs=on.blobs,
        signer=on.signer,
        clock=on.clock,
    )
    return MediaService(
        uploading=Uploading(
            database=on.database,
            staging=on.staging,
            blobs=on.blobs,
            codecs=on.codecs,
            admitting=admitting,
            repairing=repairing,
            policies=on.policies,
            clock=on.clock,
        ),
        reading=reading,
        watching=Watching(
            database=on.database,
            reading=reading,
            changes=on.changes,
            clock=on.clock,
            limits=on.watching_limits,
        ),
        signing=Signing(reading=reading, links=links, offer=on.offer, clock=on.clock),
        deleting=deleting,
        developing=developing,
        processing=Processing(
            database=on.database,
            cache=on.cache,
            developing=developing,
            admitting=admitting,
            policies=on.policies,
            clock=on.clock,
            tell_seconds=on.tell_seconds,
        ),
        delivering=delivering,
        transforming=Transforming(
            reading=reading,
            developing=developing,
            signer=on.signer,
            offer=on.offer,
            clock=on.clock,
        ),
        housekeeping=Housekeeping(
            database=on.database,
            staging=on.staging,
            blobs=on.blobs,
            deleting=deleting,
            keeping=on.keeping,
        ),
        auditing=Auditing(
            database=on.database,
            staging=on.staging,
            blobs=on.blobs,
            repairing=repairing,
            clock=on.clock,
        ),
        scrubbing=Scrubbing(
            database=on.database, blobs=on.blobs, developing=developing, repairing=repairing
        ),
        erasing=Erasing(
            database=on.database,
            blobs=on.blobs,
            cache=on.cache,
            deleting=deleting,
            delivering=delivering,
        ),
        queueing=Queueing(database=on.database, queue=on.queue, cache=on.cache, clock=on.clock),
        processes=on.processes,
        links=links,
        policies=on.policies,
        offer=on.offer,
        clock=on.clock,
    )
