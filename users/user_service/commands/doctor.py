"""`userd doctor`: whether everything is there that `userd serve` needs."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable

import click

from user_service.commands.logs import configure_logs
from user_service.composition import (
    media_client_of,
    open_database_url,
    outside_issuer_of,
    own_keys_of,
    prepared_folder,
)
from user_service.config import Settings
from user_service.errors import MediaUnavailable
from user_service.media_over_grpc import MediaOverGrpc
from user_service.postgres.database import open_database
from user_service.tracing import check_collector

_LEAST_FREE_BYTES = 1024**3


async def examine(settings: Settings) -> bool:
    """Check everything and print what was found; whether all is well."""
    configure_logs(settings.log_format)
    checks: tuple[tuple[str, Callable[[Settings], Awaitable[str]]], ...] = (
        ("data folder", _data_folder),
        ("keys", _keys),
        ("database", _database),
        ("media service", _media),
        ("tracing", _tracing),
    )
    results = [await _checked(name, check, settings) for name, check in checks]
    return all(results)


async def _checked(
    name: str, check: Callable[[Settings], Awaitable[str]], settings: Settings
) -> bool:
    try:
        found = await check(settings)
    except Exception as error:  # noqa: BLE001 - whatever is wrong is what we are here to say
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        click.echo(f"✗ {name}: {error}{cause}")
        return False
    click.echo(f"✓ {name}: {found}")
    return True


async def _data_folder(settings: Settings) -> str:
    folder = prepared_folder(settings)
    probe = folder / ".doctor"
    probe.write_bytes(b"x")
    probe.unlink()
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        raise OSError(f"only {free // 1024**2} MB are free on {folder}; make room")
    return f"{folder} is writable, {free // 1024**3} GB free"


async def _keys(settings: Settings) -> str:
    names = ", ".join(key.name for key in own_keys_of(settings))
    outside = outside_issuer_of(settings)
    if outside is None:
        return f"ours: {names}; no outside issuer"
    return f"ours: {names}; {outside.name} with {', '.join(outside.algorithms)}"


async def _database(settings: Settings) -> str:
    async with (
        open_database_url(settings) as url,
        open_database(url, max_connections=1) as database,
    ):
        await database.check()
    return "answers" + ("" if settings.database_url else " (embedded)")


async def _media(settings: Settings) -> str:
    address = settings.media_address
    try:
        async with media_client_of(settings) as client:
            await MediaOverGrpc(client).check()
    except MediaUnavailable as error:
        raise ConnectionError(
            f"{address}: {error.__cause__ or error} Is it running (`mediad serve`), and are "
            "USERD_MEDIA_ADDRESS and USERD_MEDIA_TOKEN right?"
        ) from None
    return f"{address} answers"


async def _tracing(_settings: Settings) -> str:
    return await check_collector()
