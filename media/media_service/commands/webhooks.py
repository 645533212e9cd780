"""`mediad webhooks`: what receivers are yet to be told, and what an operator does about it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from media_service.commands.logs import configure_logs
from media_service.composition import open_media_service
from media_service.config import Settings
from media_service.core.webhooks import Delivery, receiver_name


async def show(settings: Settings, *, failed: bool, limit: int, as_json: bool) -> None:
    """Print what waits or was given up."""
    configure_logs(settings.log_format)
    async with open_media_service(settings, is_decoding=False) as opened:
        found = await opened.notifying.find(failed_only=failed, limit=limit)
    for delivery in found:
        told = _told(delivery)
        click.echo(json.dumps(told) if as_json else _line(told))
    if not as_json:
        click.echo(f"{len(found)} deliveries", err=True)


async def retry(settings: Settings, ids: Sequence[str]) -> bool:
    """Begin these again, or without ids all that were given up; whether there were any."""
    configure_logs(settings.log_format)
    async with open_media_service(settings, is_decoding=False) as opened:
        notifying = opened.notifying
        count = await (notifying.retry(ids) if ids else notifying.retry_all_failed())
    click.echo(f"{count} deliveries begun again")
    return bool(count or not ids)


def _told(delivery: Delivery) -> dict[str, str | int]:
    """What there is to see; of the address only the host, as paths may be secrets."""
    return {
        "id": delivery.id,
        "type": delivery.type,
        "media_id": delivery.media_id,
        "receiver": receiver_name(delivery.url),
        "state": "failed" if delivery.failed_at else "waiting",
        "attempts": delivery.attempts,
        "due_at": "" if delivery.failed_at else f"{delivery.due_at:%Y-%m-%dT%H:%M:%SZ}",
        "failure": delivery.failure,
    }


def _line(told: dict[str, str | int]) -> str:
    names = ("id", "state", "type", "media_id", "receiver")
    shown = "  ".join(str(told[name]) for name in names)
    return f"{shown}  tried {told['attempts']}  {told['failure'] or told['due_at']}".rstrip()
