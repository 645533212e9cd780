"""The scrub as a duty: a part each minute, slowly."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from prometheus_client import Counter

from media_service.core.scrubbing import Pace, Scrubbing
from media_service.entrypoints.worker.duties import Duty

BYTES_PER_SECOND = 32 * 1024 * 1024
_EVERY = timedelta(minutes=1)

_BYTES = Counter("mediad_scrubbed_bytes_total", "Bytes that were read again and compared")
_OBJECTS = Counter("mediad_scrubbed_objects_total", "Objects that were read again and compared")
_FINDINGS = Counter("mediad_scrub_findings_total", "What scrubbing found", ["what"])


def scrub_duties(scrubbing: Scrubbing, *, days: int) -> tuple[Duty, ...]:
    """Have everything read again within so many days; 0: never."""
    if not days:
        return ()
    parts, pace = timedelta(days=days) // _EVERY, Pace(BYTES_PER_SECOND)

    async def scrub(turn: int) -> Mapping[str, int]:
        report = await scrubbing.scrub(part=turn, parts=parts, pace=pace)
        _BYTES.inc(report.size_bytes)
        _OBJECTS.inc(report.objects)
        for what in ("damaged_originals", "healed_originals", "damaged_renditions", "failures"):
            _FINDINGS.labels(what).inc(getattr(report, what))
        return {}

    return (Duty("scrub", _EVERY, scrub),)
