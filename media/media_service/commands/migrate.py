"""`mediad migrate`: the schema, brought up to date."""

from __future__ import annotations

import click

from media_service.commands.logs import configure_logs
from media_service.composition import open_database_url
from media_service.config import Settings
from media_service.core.errors import MediaError
from media_service.infra.postgres.migrations import MigrationChanged
from media_service.infra.postgres.migrations import migrate as apply_missing


async def run(settings: Settings) -> None:
    """Apply what is missing and print its names."""
    configure_logs(settings.log_format)
    async with open_database_url(settings) as url:
        try:
            applied = await apply_missing(url)
        except (MediaError, MigrationChanged) as error:
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            raise click.ClickException(f"{error}{cause}") from None
    for name in applied:
        click.echo(f"applied {name}")
    click.echo("the schema is up to date")
