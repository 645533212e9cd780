"""The composition root: opens everything the service needs, top to bottom, and hands it over."""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from embedded_servers.postgres import open_postgres
from media_client import TLS, MediaApi, MediaClient

from user_service.accounts import Accounts
from user_service.attachments import Attachments
from user_service.attempts import Attempts
from user_service.config import Settings, SettingsRefused
from user_service.deletions import Deletions
from user_service.housekeeping import Housekeeping
from user_service.identity import Identifying
from user_service.key_fetching import FetchedKeys, fetch_from
from user_service.keys import (
    KeySource,
    KeysRefused,
    OnePublicKey,
    OwnKey,
    OwnKeys,
    SharedSecret,
    read_key_set,
)
from user_service.media_over_grpc import MediaOverGrpc
from user_service.passwords import open_passwords
from user_service.pictures import Pictures
from user_service.ports import Allowance
from user_service.postgres.accounts import PostgresAccounts
from user_service.postgres.attempts import PostgresAttempts
from user_service.postgres.database import PostgresDatabase, open_database
from user_service.postgres.deletions import PostgresDeletions
from user_service.postgres.migrations import migrate
from user_service.postgres.profiles import PostgresProfiles
from user_service.postgres.sessions import PostgresSessions
from user_service.postgres.throttles import PostgresThrottles
from user_service.profiles import Profiles
from user_service.recurring import recurring
from user_service.service import UserService
from user_service.throttling import Allowances, Throttling
from user_service.tokens import AccessTokens, Issuer, TokenVerifier, own_issuer
from user_service.viewing import Viewing

Check = Callable[[], Awaitable[None]]

_SWEEP_SECONDS, _DELETE_SECONDS, _TIDY_SECONDS = 600.0, 2.0, 5.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A user service that is open, and what its entrypoint needs beside it."""

    service: UserService
    checks: Mapping[str, Check]
    spool_folder: Path


def now() -> datetime:
    """The time of the system's clock."""
    return datetime.now(UTC)


@asynccontextmanager
async def open_database_url(settings: Settings) -> AsyncIterator[str]:
    """The database to use: the operator's, or an embedded one that runs while this lasts."""
    if settings.database_url:
        yield settings.database_url
        return
    async with open_postgres(prepared_folder(settings) / "postgres", database="userd") as url:
        yield url


def prepared_folder(settings: Settings) -> Path:
    """The data folder, made if need be; only its owner may enter."""
    folder = settings.data_dir.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@asynccontextmanager
async def open_user_service(
    settings: Settings, *, client: MediaApi | None = None
) -> AsyncIterator[Opened]:
    """Open what the service needs, hand it over, close in reverse order.

    `client`, not opened yet, takes the place of the one that the settings name.
    """
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        own_keys = own_keys_of(settings)
        verifier = _verifier(settings, own_keys)
        database_url = await enter(open_database_url(settings))
        await migrate(database_url)
        pool = open_database(database_url, max_connections=settings.max_connections)
        database = await enter(pool)
        api = await enter(client or media_client_of(settings))
        media = MediaOverGrpc(api, upload_seconds=settings.media_upload_seconds)
        sessions, profile_rows = PostgresSessions(database), PostgresProfiles(database)
        throttles, deletion_rows = PostgresThrottles(database), PostgresDeletions(database)
        throttling = Throttling(throttles, _allowances(settings))
        accounts = Accounts(
            accounts=PostgresAccounts(database),
            sessions=sessions,
            passwords=await enter(open_passwords(threads=settings.password_threads)),
            throttling=throttling,
            tokens=_access_tokens(settings, own_keys),
            clock=now,
        )
        pictures, attachments = await _open_uploads(stack, settings, database, media)
        service = UserService(
            accounts=accounts,
            identifying=Identifying(verifier=verifier, sessions=sessions, clock=now),
            profiles=Profiles(profile_rows),
            pictures=pictures,
            attachments=attachments,
            viewing=Viewing(media),
            throttling=throttling,
        )
        housekeeping = Housekeeping(
            sessions=sessions, throttles=throttles, deletions=deletion_rows, clock=now
        )
        await enter(recurring("housekeeping", housekeeping.sweep, every_seconds=_SWEEP_SECONDS))
        yield Opened(
            service=service,
            checks={"database": database.check},
            spool_folder=_spool_folder(settings),
        )


async def _open_uploads(
    stack: AsyncExitStack, settings: Settings, database: PostgresDatabase, media: MediaOverGrpc
) -> tuple[Pictures, Attachments]:
    """What takes files in, and what works off what they leave."""
    profiles, attempt_rows = PostgresProfiles(database), PostgresAttempts(database)
    deletions = Deletions(rows=PostgresDeletions(database), media=media)
    attempts = Attempts(
        rows=attempt_rows,
        media=media,
        profiles=profiles,
        due_in=timedelta(seconds=settings.abandoned_seconds),
    )
    enter = stack.enter_async_context
    await enter(recurring("deletions", deletions.work_off, every_seconds=_DELETE_SECONDS))
    await enter(recurring("attempts", attempts.tidy, every_seconds=_TIDY_SECONDS))
    pictures = Pictures(media=media, profiles=profiles, attempts=attempts, deletions=deletions)
    return pictures, Attachments(media=media, attempts=attempts, rows=attempt_rows)


def media_client_of(settings: Settings) -> MediaClient:
    """The media service as the settings name it, to be opened."""
    return MediaClient(
        settings.media_address,
        token=settings.media_token or None,
        tls=_media_tls(settings),
        channels=settings.media_channels,
        timeout=settings.media_seconds,
        upload_timeout=settings.media_upload_seconds,
    )


def _media_tls(settings: Settings) -> TLS | None:
    if settings.media_tls_ca_file is None and settings.media_tls_cert_file is None:
        return None
    return TLS.from_files(
        ca=settings.media_tls_ca_file,
        key=settings.media_tls_key_file,
        chain=settings.media_tls_cert_file,
    )


def _spool_folder(settings: Settings) -> Path:
    folder = prepared_folder(settings) / "uploads"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _allowances(settings: Settings) -> Allowances:
    quarter, hour, minute = timedelta(minutes=15), timedelta(hours=1), timedelta(minutes=1)
    return Allowances(
        logins_per_username=Allowance(count=settings.logins_per_username, per=quarter),
        logins_per_address=Allowance(count=settings.logins_per_address, per=quarter),
        registrations_per_address=Allowance(count=settings.registrations_per_address, per=hour),
        uploads_per_user=Allowance(count=settings.uploads_per_user, per=minute),
        attachments_per_user=Allowance(count=settings.attachments_per_user, per=hour),
    )


def _access_tokens(settings: Settings, keys: tuple[OwnKey, ...]) -> AccessTokens:
    return AccessTokens(
        keys,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        lifetime=timedelta(seconds=settings.jwt_access_seconds),
        clock=now,
    )


def _verifier(settings: Settings, keys: tuple[OwnKey, ...]) -> TokenVerifier:
    own = own_issuer(settings.jwt_issuer, audience=settings.jwt_audience, keys=OwnKeys(keys))
    return TokenVerifier(own, outside_issuer_of(settings))


def own_keys_of(settings: Settings) -> tuple[OwnKey, ...]:
    """The operator's keys, or one made at the first start and kept in the data folder."""
    named = settings.keys or _kept_key(prepared_folder(settings) / "jwt-key")
    return tuple(OwnKey(name, secret.encode()) for name, secret in named.items())


def _kept_key(file: Path) -> dict[str, str]:
    """The key in this file, made first if there is none. Processes that race agree on one."""
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(f"k{secrets.token_hex(3)}:{secrets.token_hex(32)}\n")
        opened.flush()
        os.fsync(opened.fileno())
    with suppress(FileExistsError):
        file.hardlink_to(draft)
    draft.unlink()
    name, _, secret = file.read_text().strip().partition(":")
    return {name: secret}


def outside_issuer_of(settings: Settings) -> Issuer | None:
    """The outside issuer, if one is set. Raises SettingsRefused if its keys can't be used."""
    if not settings.jwt_outside_issuer:
        return None
    try:
        keys = _outside_keys(settings)
    except (OSError, KeysRefused) as error:
        raise SettingsRefused(f"USERD_JWT_OUTSIDE_…: {error}") from error
    return Issuer(
        name=settings.jwt_outside_issuer,
        audience=settings.jwt_outside_audience or settings.jwt_audience,
        algorithms=settings.outside_algorithms,
        keys=keys,
    )


def _outside_keys(settings: Settings) -> KeySource:
    if settings.jwt_outside_public_key_file:
        return OnePublicKey(settings.jwt_outside_public_key_file.read_bytes())
    if settings.jwt_outside_jwks_file:
        return read_key_set(settings.jwt_outside_jwks_file.read_bytes())
    if settings.jwt_outside_jwks_url:
        return FetchedKeys(fetch_from(settings.jwt_outside_jwks_url))
    return SharedSecret(settings.jwt_outside_secret.encode())
