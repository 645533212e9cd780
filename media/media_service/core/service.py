"""The media service as its entrypoints see it."""

from __future__ import annotations

import dataclasses

from media_service.core.access import Links
from media_service.core.auditing import Auditing
from media_service.core.deleting import Deleting
from media_service.core.delivering import Delivering
from media_service.core.erasing import Erasing
from media_service.core.housekeeping import Housekeeping
from media_service.core.job_ports import Processes
from media_service.core.ports import Clock
from media_service.core.processing import Processing
from media_service.core.purposes import Policies
from media_service.core.queueing import Queueing
from media_service.core.reading import Reading
from media_service.core.scrubbing import Scrubbing
from media_service.core.signing import Signing
from media_service.core.transformations import Offer
from media_service.core.transforming import Transforming
from media_service.core.uploading import Uploading
from media_service.core.watching import Watching


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MediaService:
    """Everything the service does, each doing by its name."""

    uploading: Uploading
    reading: Reading
    watching: Watching
    signing: Signing
    deleting: Deleting
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
