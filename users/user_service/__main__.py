"""The command `userd`."""

# ruff: noqa: D301 - click wants the control character

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import click
import uvloop

from user_service.commands import doctor as doctor_command
from user_service.commands import migrate as migrate_command
from user_service.commands import serve as serve_command
from user_service.config import Settings, SettingsRefused, read_settings
from user_service.errors import UserError

_T = TypeVar("_T")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(package_name="mediad-users")
def main() -> None:
    """Accounts, tokens and profiles, whose pictures are kept by the media service.

    \b
    Start here:
      mediad serve     in one terminal: the media service
      userd serve      in another: this one; then open http://127.0.0.1:8080

    Settings come from the environment (USERD_PORT, USERD_DATABASE_URL, ...) or from the TOML file
    that USERD_CONFIG names; `userd settings` lists them all.
    """


@main.command(short_help="Run the service until Ctrl-C or SIGTERM.")
def serve() -> None:
    """Run the service until Ctrl-C or SIGTERM, then finish what is in flight and stop.

    \b
    With no settings at all it runs on embedded defaults, on this machine only:
      HTTP             localhost:8080    /, /docs, /api/v1/..., /healthz, /readyz, /metrics
      media service    localhost:50051   it may come later; until then uploads are answered 503
      everything kept in ./userd-data    (an embedded PostgreSQL, the key that signs tokens)

    \b
    Examples:
      userd serve
      USERD_DATA_DIR=/srv/userd USERD_PORT=9000 userd serve
      USERD_DATABASE_URL=postgresql://... USERD_MEDIA_ADDRESS=media:50051 userd serve

    Several instances share one database; give all of them the same USERD_JWT_KEYS.
    """
    _run(serve_command.serve(_settings()))


@main.command()
def migrate() -> None:
    """Bring the database's schema up to date, and say what was done.

    `userd serve` does this by itself; run it first when several instances are upgraded, so that
    none of them waits. It is safe to run at any time, in any number of places at once.
    """
    _run(migrate_command.run(_settings()))


@main.command(short_help="Check the data folder, the keys, the database, the media service.")
def doctor() -> None:
    """Check the data folder, the keys, the database and the media service; say what is wrong.

    Ends with status 1 if anything would keep `userd serve` from working. A service that runs on
    the same data folder is not disturbed.
    """
    if not _run(doctor_command.examine(_settings())):
        sys.exit(1)


@main.command()
def settings() -> None:
    """List every setting, its default and what it means."""
    for name, field in Settings.model_fields.items():
        default = "" if field.default in ("", None) else f" [{field.default}]"
        click.echo(f"USERD_{name.upper()}{default}\n    {field.description}")


def _settings() -> Settings:
    try:
        return read_settings()
    except SettingsRefused as error:
        raise click.ClickException(str(error)) from None


def _run(doing: Coroutine[Any, Any, _T]) -> _T:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(doing)
    except KeyboardInterrupt:
        sys.exit(130)
    except (SettingsRefused, UserError) as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
