"""`mediad sweep`: housekeeping, now."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta

import click

from media_service.commands.logs import configure_logs
from media_service.composition import open_media_service
from media_service.config import Settings


async def run(settings: Settings, *, grace_seconds: int | None) -> bool:
    """Sweep everything once and print what was removed, as JSON; whether all could be."""
    configure_logs(settings.log_format)
    grace = None if grace_seconds is None else timedelta(seconds=grace_seconds)
    async with open_media_service(settings, is_decoding=False) as opened:
        housekeeping = opened.service.housekeeping
        report = await housekeeping.sweep(grace=grace)
        report.orphaned_files = await housekeeping.collect_orphans()
    click.echo(json.dumps(dataclasses.asdict(report)))
    return not report.failures
