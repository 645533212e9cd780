"""`mediad blobs copy`: every object to another store, beside instances that go on serving."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import click

from media_service.commands.logs import configure_logs
from media_service.commands.meter import Meter
from media_service.composition import (
    open_blobs,
    open_database_url,
    prepared_folder,
    storage_url,
)
from media_service.config import Settings
from media_service.core.copies import CopyReport, Kind
from media_service.core.copying import Copying
from media_service.core.ports import Blobs
from media_service.infra.blobs.fallback import FallbackBlobs
from media_service.infra.blobs.staging import open_local_staging
from media_service.infra.postgres.database import open_database
from media_service.storage_urls import parse_storage_url


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is copied from where (the later addresses for what the earlier lack) to where."""

    sources: tuple[str, ...]
    target: str
    kinds: tuple[Kind, ...]
    at_once: int


def plan(
    settings: Settings,
    source: str | None,
    target: str | None,
    *,
    originals_only: bool,
    at_once: int,
) -> Plan:
    """What to do. Raises UsageError if that can't be told."""
    own, other = storage_url(settings), settings.storage_fallback_url
    if source:
        sources: tuple[str, ...] = (source,)
    elif target:
        sources = (own, other) if other else (own,)
    elif other:
        sources = (other,)
    else:
        raise click.UsageError("set MEDIAD_STORAGE_FALLBACK_URL, or say --to URL or --from URL")
    target = target or own
    for url in (*sources, target):
        _check(url)
    if target.rstrip("/") in {url.rstrip("/") for url in sources}:
        raise click.UsageError(f"{target} would be copied onto itself")
    kinds = (Kind.ORIGINALS,) if originals_only else tuple(Kind)
    return Plan(sources=sources, target=target, kinds=kinds, at_once=at_once)


async def run(settings: Settings, plan: Plan, *, verify_only: bool) -> bool:
    """Copy or verify, and print a report; whether the target holds all that a row names."""
    configure_logs(settings.log_format)
    async with _open_copying(settings, plan) as copying:
        with Meter() as meter:
            doing = copying.verify if verify_only else copying.copy
            report = await doing(plan.kinds, tell=meter.tell)
    click.echo(json.dumps(_told(plan, report), indent=2))
    return report.is_complete


@asynccontextmanager
async def _open_copying(settings: Settings, plan: Plan) -> AsyncIterator[Copying]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        database_url = await enter(open_database_url(settings))
        connections = min(settings.max_connections, plan.at_once + 1)
        staging = await enter(open_local_staging(_staging_folder(settings, plan.target)))
        stores = [await enter(open_blobs(url, staging=staging)) for url in plan.sources]
        yield Copying(
            database=await enter(open_database(database_url, max_connections=connections)),
            source=_together(stores),
            target=await enter(open_blobs(plan.target, staging=staging)),
            staging=staging,
            at_once=plan.at_once,
        )


def _check(url: str) -> None:
    try:
        parse_storage_url(url)
    except ValueError as error:
        raise click.UsageError(f"{url} is not the address of a store: {error}") from None


def _staging_folder(settings: Settings, target: str) -> Path:
    """Where bytes wait for the target: beside it, if that is on this machine."""
    where = parse_storage_url(target)
    return where if isinstance(where, Path) else prepared_folder(settings)


def _together(stores: list[Blobs]) -> Blobs:
    return stores[0] if len(stores) == 1 else FallbackBlobs(*stores)


def _told(plan: Plan, report: CopyReport) -> dict[str, object]:
    return {
        "from": list(plan.sources),
        "to": plan.target,
        **{outcome.value: count for outcome, count in report.objects.items()},
        "copied_bytes": report.copied_bytes,
        "held_bytes": report.held_bytes,
        "failed": [{"key": key, "why": why.value} for key, why in report.failed],
    }
