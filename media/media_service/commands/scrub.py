"""`mediad scrub`: every stored byte read again, now."""

from __future__ import annotations

import dataclasses
import json
import sys

import click

from media_service.commands.logs import configure_logs
from media_service.composition import open_media_service
from media_service.config import Settings
from media_service.core.scrubbing import Pace, ScrubReport

_PARTS = 256


async def run(settings: Settings, *, megabytes_per_second: int) -> bool:
    """Scrub everything once and print what was found, as JSON; whether all is whole."""
    configure_logs(settings.log_format)
    total, pace = ScrubReport(), Pace(megabytes_per_second * 1024 * 1024)
    async with open_media_service(settings) as opened:
        with click.progressbar(range(_PARTS), label="scrubbing", file=sys.stderr) as parts:
            for part in parts:
                found = await opened.service.scrubbing.scrub(part=part, parts=_PARTS, pace=pace)
                for field in dataclasses.fields(ScrubReport):
                    sum_so_far = getattr(total, field.name) + getattr(found, field.name)
                    setattr(total, field.name, sum_so_far)
        damaged = await opened.service.housekeeping.count_damaged()
    click.echo(json.dumps({**dataclasses.asdict(total), "known_damaged": damaged}))
    return not (damaged or total.failures)
