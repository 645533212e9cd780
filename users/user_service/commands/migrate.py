"""`userd migrate`: bring the schema up to date, and say what was done."""

from __future__ import annotations

import click

from user_service.commands.logs import configure_logs
from user_service.composition import open_database_url
from user_service.config import Settings
from user_service.errors import UserError
from user_service.postgres.migrations import MigrationChanged
from user_service.postgres.migrations import migrate as apply_missing


async def run(settings: Settings) -> None:
    """Apply what is missing and print its names."""
    configure_logs(settings.log_format)
    async with open_database_url(settings) as url:
        try:
            applied = await apply_missing(url)
        except (UserError, MigrationChanged) as error:
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            raise click.ClickException(f"{error}{cause}") from None
    for name in applied:
        click.echo(f"applied {name}")
    click.echo("the schema is up to date")
