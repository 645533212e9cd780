"""The composition root: opens everything the core needs, top to bottom, and hands over the core."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from embedded_servers.errors import EmbeddedServerError
from embedded_servers.postgres import open_postgres

from media_service.config import Settings
from media_service.core.access import Signer, SigningKey
from media_service.core.developing import DevelopingLimits
from media_service.core.housekeeping import Keeping
from media_service.core.media import MediaType
from media_service.core.notifying import Notifying
from media_service.core.ports import Blobs, Cache, Changes, Staging
from media_service.core.service import Foundations, MediaService, media_service
from media_service.core.transformations import parse_sides
from media_service.infra.blobs.fallback import FallbackBlobs
from media_service.infra.blobs.local import open_local_blobs
from media_service.infra.blobs.staging import LocalStaging, open_local_staging
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.documents.codecs import (
    DOCUMENT_CELL,
    DOCUMENT_TIME_LIMITS,
    DocumentCodecs,
)
from media_service.infra.codecs.films.codecs import AV_CELL, AV_TIME_LIMITS, FilmCodecs
from media_service.infra.codecs.films.making import FilmMaker
from media_service.infra.codecs.films.motion import MovingPictures
from media_service.infra.codecs.kinds import CodecsByKind
from media_service.infra.codecs.pictures.codecs import ImageCodecs
from media_service.infra.codecs.programs.ffmpeg import Ffmpeg, UnusableFfmpeg
from media_service.infra.codecs.sounds.codecs import SoundCodecs
from media_service.infra.memory.cache import InProcessCache
from media_service.infra.postgres.backlog import watch_backlog
from media_service.infra.postgres.changes import PostgresChanges, open_changes
from media_service.infra.postgres.database import open_database
from media_service.infra.postgres.migrations import migrate
from media_service.infra.redis.cache import HITS, MISSES, open_redis_cache
from media_service.infra.webhooks.opening import open_receivers
from media_service.policies_file import read_policies
from media_service.signing_keys import kept_key
from media_service.storage_urls import S3Address, parse_storage_url
from media_service.tracing import UNTRACED, Tracing

Check = Callable[[], Awaitable[None]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A media service that is open, and what its entrypoints need beside it."""

    service: MediaService
    database_url: str
    connection_name: str
    checks: Mapping[str, Check]
    """Of what is needed."""
    helpful: Mapping[str, Check]
    """Of what is done without when it is away."""
    decoders: Callable[[], Mapping[str, object]]
    changes: Changes
    notifying: Notifying


def now() -> datetime:
    """The time of the system's clock."""
    return datetime.now(UTC)


@asynccontextmanager
async def open_database_url(settings: Settings) -> AsyncIterator[str]:
    """The database to use: the operator's, or an embedded one that runs while this lasts."""
    if settings.database_url:
        yield settings.database_url
        return
    try:
        async with open_postgres(prepared_folder(settings) / "postgres") as url:
            yield url
    except EmbeddedServerError as error:
        raise OSError(str(error)) from None


def prepared_folder(settings: Settings) -> Path:
    """The data folder, made if need be; only its owner may enter."""
    folder = settings.data_dir.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@asynccontextmanager
async def open_media_service(
    settings: Settings, *, tracing: Tracing = UNTRACED, is_decoding: bool = True
) -> AsyncIterator[Opened]:
    """Open what the core needs, hand it over, close in reverse order.

    Unless it is decoding it starts no cells, and can neither take files in nor develop any.
    """
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        name = f"mediad-{secrets.token_hex(6)}"
        picture_cells = Cells(size=settings.cells)
        document_cells = Cells(DOCUMENT_CELL, size=1, time_limits=DOCUMENT_TIME_LIMITS)
        av_cells = Cells(AV_CELL, size=min(2, settings.cells), warm=1, time_limits=AV_TIME_LIMITS)
        if is_decoding:
            for each in (picture_cells, document_cells, av_cells):
                await enter(each)
        database_url = await enter(open_database_url(settings))
        await migrate(database_url)
        pool = open_database(
            database_url,
            max_connections=settings.max_connections,
            name=name,
            enqueuing=tracing.enqueuing,
            webhook_urls=settings.receivers,
        )
        opened = await enter(pool)
        await enter(opened.processes.seen())
        await enter(watch_backlog(opened))
        database = tracing.steps(opened, transaction="database transaction")
        staging = await enter(open_local_staging(staging_folder(settings)))
        blobs = await enter(open_service_blobs(settings, staging=staging))
        blobs = tracing.steps(blobs, put_ahead="blob put ahead", put="blob put")
        changes = await enter(open_changes(database_url))
        cache, helpful = await _open_cache(stack, settings, changes)
        pictures = ImageCodecs(picture_cells)
        ffmpeg = await find_ffmpeg(settings) if is_decoding else None
        maker = FilmMaker(ffmpeg, av_cells) if ffmpeg else None
        documents, films = DocumentCodecs(document_cells), FilmCodecs(av_cells, maker)
        sounds = SoundCodecs(av_cells, ffmpeg)
        codecs = CodecsByKind(
            {
                MediaType.IMAGE: MovingPictures(pictures, maker),
                MediaType.VIDEO: films,
                MediaType.AUDIO: sounds,
                MediaType.DOCUMENT: documents,
            }
        )
        codecs = tracing.steps(codecs, inspect="cell inspect", develop="cell develop")
        service = media_service(
            Foundations(
                database=database,
                queue=database.queue,
                processes=database.processes,
                staging=staging,
                blobs=blobs,
                codecs=codecs,
                cache=cache,
                changes=changes,
                clock=now,
                signer=Signer(_signing_keys(settings)),
                base_url=settings.base_url,
                policies=read_policies(settings.policies_file),
                offer=parse_sides(settings.transformation_sides),
                keeping=Keeping(
                    grace=settings.delete_grace,
                    trash=settings.trash_time,
                    tombstones=settings.tombstone_time,
                ),
                queue_limits=settings.queue_limits,
                developing_limits=DevelopingLimits(
                    at_once=settings.cells, transcodes=settings.transcodes
                ),
            )
        )
        uploading = tracing.steps(service.uploading, upload="upload")
        service = dataclasses.replace(service, uploading=uploading)
        yield Opened(
            service=service,
            database_url=database_url,
            connection_name=name,
            checks={"database": database.check, "storage": _storage_check(staging, blobs)},
            helpful=helpful,
            decoders=lambda: _decoders(
                (pictures, films, sounds, documents), (picture_cells, av_cells, document_cells)
            ),
            changes=changes,
            notifying=Notifying(
                outbox=opened.outbox,
                receivers=await enter(open_receivers(settings.receivers)),
                urls=settings.receivers,
                secrets=settings.webhook_keys,
                clock=now,
            ),
        )


def _decoders(
    kinds: Sequence[ImageCodecs | FilmCodecs | SoundCodecs | DocumentCodecs], pools: Sequence[Cells]
) -> Mapping[str, object]:
    """What is decoded, by which versions, and how cells of every kind are confined."""
    sandboxes = [pool.sandbox() for pool in pools]
    return {
        "formats": sorted(format for kind in kinds for format in kind.formats()),
        "versions": {name: version for kind in kinds for name, version in kind.versions().items()},
        "sandbox": [name for name in sandboxes[0] if all(name in other for other in sandboxes)],
    }


async def find_ffmpeg(settings: Settings) -> Ffmpeg:
    """The ffmpeg that films are made with. Raises OSError if it can't be used."""
    try:
        return await Ffmpeg.find(settings.ffmpeg)
    except UnusableFfmpeg as error:
        raise OSError(f"MEDIAD_FFMPEG: {error}") from None


def storage_url(settings: Settings) -> str:
    """Where blobs lie: where the operator says, or in the data folder."""
    return settings.storage_url or f"file://{quote(str(prepared_folder(settings) / 'blobs'))}"


def staging_folder(settings: Settings) -> Path:
    """Where staging lies: where blobs do, if that is on this machine; else in the data folder."""
    where = parse_storage_url(storage_url(settings))
    return where if isinstance(where, Path) else prepared_folder(settings)


@asynccontextmanager
async def open_blobs(url: str, *, staging: Staging) -> AsyncIterator[Blobs]:
    """The blobs at a storage URL; `staging` is on this machine whatever it says.

    Raises ValueError for what is no such URL; OSError, StorageFull, StorageUnavailable.
    """
    where = parse_storage_url(url)
    opening = (
        open_local_blobs(where) if isinstance(where, Path) else _open_bucket(where, staging=staging)
    )
    async with opening as blobs:
        yield blobs


@asynccontextmanager
async def _open_bucket(where: S3Address, *, staging: Staging) -> AsyncIterator[Blobs]:
    """The blobs in a bucket; only who has one pays for the import of an S3 client."""
    from media_service.infra.blobs.s3 import open_s3_blobs
    from media_service.infra.blobs.s3_calls import open_calls

    async with (
        open_calls(
            region=where.region, endpoint=where.endpoint, is_path_style=where.is_path_style
        ) as calls,
        open_s3_blobs(calls, bucket=where.bucket, prefix=where.prefix, staging=staging) as blobs,
    ):
        yield blobs


@asynccontextmanager
async def open_service_blobs(settings: Settings, *, staging: Staging) -> AsyncIterator[Blobs]:
    """What the service reads and writes: its store, and the other one while bytes move."""
    async with open_blobs(storage_url(settings), staging=staging) as blobs:
        if not settings.storage_fallback_url:
            yield blobs
            return
        async with open_blobs(settings.storage_fallback_url, staging=staging) as second:
            yield FallbackBlobs(blobs, second)


def _storage_check(staging: LocalStaging, blobs: Blobs) -> Check:
    """Whether bytes can be staged, and stored for good."""

    async def check() -> None:
        await staging.check()
        await blobs.check_store()

    return check


async def _open_cache(
    stack: AsyncExitStack, settings: Settings, changes: PostgresChanges
) -> tuple[Cache, Mapping[str, Check]]:
    """The cache, and how to look whether it is there if it can be away."""
    if settings.redis_url:
        redis = await stack.enter_async_context(open_redis_cache(settings.redis_url))
        return redis, {"cache": redis.check}
    cache = InProcessCache(hits=HITS.labels("memory"), misses=MISSES.labels("memory"))
    stack.enter_context(changes.follow(on_change=cache.forget, on_gap=cache.pause))
    return cache, {}


def _signing_keys(settings: Settings) -> tuple[SigningKey, ...]:
    """The operator's keys, or one made at the first start and kept in the data folder."""
    named = settings.keys or kept_key(prepared_folder(settings) / "signing-key")
    return tuple(SigningKey(name, secret.encode()) for name, secret in named.items())
