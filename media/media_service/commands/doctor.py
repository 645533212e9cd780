"""`mediad doctor`: whether everything is there that `mediad serve` needs."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import click
from redis.asyncio import Redis
from redis.exceptions import RedisError

from media_service.commands.logs import configure_logs
from media_service.commands.serve import LONE_KEY
from media_service.composition import (
    find_ffmpeg,
    open_blobs,
    open_database_url,
    prepared_folder,
    staging_folder,
    storage_url,
)
from media_service.config import Settings
from media_service.core.webhooks import receiver_name
from media_service.infra.blobs.staging import open_local_staging
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.documents.codecs import DOCUMENT_CELL, DocumentCodecs
from media_service.infra.codecs.films.codecs import AV_CELL, FilmCodecs
from media_service.infra.codecs.pictures.codecs import ImageCodecs
from media_service.infra.codecs.sounds.codecs import SoundCodecs
from media_service.infra.postgres.database import open_database
from media_service.policies_file import read_policies
from media_service.tracing import check_collector

_LEAST_FREE_BYTES = 1024**3


class Doubt(Exception):
    """Something that works, and probably is not meant to be so."""


async def examine(settings: Settings) -> bool:
    """Check everything and print what was found; whether all is well."""
    configure_logs(settings.log_format)
    other = (("fallback storage", _fallback),) if settings.storage_fallback_url else ()
    checks: tuple[tuple[str, Callable[[Settings], Awaitable[str]]], ...] = (
        ("settings", _settings),
        ("data folder", _data_folder),
        ("storage", _storage),
        *other,
        ("database", _database),
        ("connections", _connections),
        ("signing keys", _signing_keys),
        ("cache", _cache),
        ("webhooks", _webhooks),
        ("decoders", _decoders),
        ("ffmpeg", _ffmpeg),
        ("tracing", _tracing),
    )
    results = [await _checked(name, check, settings) for name, check in checks]
    return all(results)


async def _checked(
    name: str, check: Callable[[Settings], Awaitable[str]], settings: Settings
) -> bool:
    try:
        found = await check(settings)
    except Doubt as doubt:
        click.echo(f"! {name}: {doubt}")
        return True
    except Exception as error:  # noqa: BLE001 - whatever is wrong is what we are here to say
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        click.echo(f"✗ {name}: {error}{cause}")
        return False
    click.echo(f"✓ {name}: {found}")
    return True


async def _settings(settings: Settings) -> str:
    policies = read_policies(settings.policies_file)
    processes = f"{settings.workers} × {settings.cells} cells"
    return f"roles {settings.roles}; {processes}; policies version {policies.version}"


async def _data_folder(settings: Settings) -> str:
    folder = prepared_folder(settings)
    probe = folder / ".doctor"
    probe.write_bytes(b"x")
    probe.unlink()
    return f"{folder} is writable"


async def _storage(settings: Settings) -> str:
    folder = staging_folder(settings)
    async with (
        open_local_staging(folder) as staging,
        open_blobs(storage_url(settings), staging=staging) as blobs,
    ):
        await staging.check()
        await blobs.check_store()
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        raise OSError(f"only {free // 1024**2} MB are free on {folder}; make room")
    local = f"{folder} is writable, {free // 1024**3} GB free"
    if settings.storage_url.startswith("s3:"):
        return f"{settings.storage_url} is written, read and deleted; for staging, {local}"
    return local


async def _fallback(settings: Settings) -> str:
    """The other store; looked at apart, so that it is named if it is the one that is away."""
    url = settings.storage_fallback_url
    async with (
        open_local_staging(staging_folder(settings)) as staging,
        open_blobs(url, staging=staging) as blobs,
    ):
        await blobs.check_store()
    return f"{url} answers; take it away when the move is over"


async def _database(settings: Settings) -> str:
    async with (
        open_database_url(settings) as url,
        open_database(url, max_connections=1) as database,
    ):
        await database.check()
    return "answers" + ("" if settings.database_url else " (embedded)")


async def _connections(settings: Settings) -> str:
    async with (
        open_database_url(settings) as url,
        open_database(url, max_connections=1) as database,
    ):
        most = await database.most_connections()
    wanted = settings.database_connections
    if wanted > most:
        raise Doubt(
            f"this instance may want {wanted}, PostgreSQL allows {most} to everybody: raise its "
            "max_connections, or lower MEDIAD_MAX_CONNECTIONS, MEDIAD_WORKERS or MEDIAD_CELLS"
        )
    return f"{wanted} of this instance at most, of {most} that PostgreSQL allows"


async def _signing_keys(settings: Settings) -> str:
    if settings.has_key_of_its_own:
        raise Doubt(LONE_KEY)
    return f"{len(settings.keys)} set" if settings.keys else "one of this data folder"


async def _cache(settings: Settings) -> str:
    if not settings.redis_url:
        return "in this process (set MEDIAD_REDIS_URL to share one)"
    try:
        async with Redis.from_url(settings.redis_url, socket_timeout=2) as redis:
            await redis.ping()
    except RedisError as error:
        raise Doubt(
            f"{error} The service works without it, slower: start Redis, or mend MEDIAD_REDIS_URL"
        ) from None
    return "Redis answers"


async def _webhooks(settings: Settings) -> str:
    away = [receiver_name(url) for url in settings.receivers if not await _is_reached(url)]
    if away:
        raise Doubt(
            f"nothing answers at {', '.join(away)}: what happens is kept and sent for 3 days; "
            "mend MEDIAD_WEBHOOK_URLS, or start what listens there"
        )
    if not settings.receivers:
        return "nobody is told (set MEDIAD_WEBHOOK_URLS)"
    return f"told: {len(settings.receivers)}; secrets that sign: {len(settings.webhook_keys)}"


async def _is_reached(url: str) -> bool:
    """Whether something listens there; nothing is sent."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(3):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except OSError:
        return False
    writer.close()
    return True


async def _decoders(_settings: Settings) -> str:
    async with (
        Cells(size=1) as cells,
        Cells(AV_CELL, size=1) as av_cells,
        Cells(DOCUMENT_CELL, size=1) as papers,
    ):
        films, sounds = FilmCodecs(av_cells), SoundCodecs(av_cells, None)
        kinds = (ImageCodecs(cells), films, sounds, DocumentCodecs(papers))
        formats = {format for codecs in kinds for format in codecs.formats()}
        names = sorted(format.name for format in formats)
        return f"{', '.join(names)}; cells confined by {', '.join(cells.sandbox())}"


async def _ffmpeg(settings: Settings) -> str:
    found = await find_ffmpeg(settings)
    return f"{found.version} makes films ({found.path})"


async def _tracing(_settings: Settings) -> str:
    return await check_collector()
