"""How commands get their settings, and run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import click

from media_service.config import Settings, SettingsRefused, read_settings
from media_service.core.errors import MediaError
from media_service.processes.failures import ProcessFailed

_T = TypeVar("_T")


def settings_given(**overrides: Any) -> Settings:
    """The settings, or a refusal that says what is wrong with them."""
    try:
        return read_settings(**overrides)
    except SettingsRefused as error:
        raise click.ClickException(str(error)) from None


def run(doing: Coroutine[Any, Any, _T]) -> _T:
    """What it returns; what it raises becomes a sentence and an exit status."""
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(doing)
    except KeyboardInterrupt:
        sys.exit(130)
    except ProcessFailed as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.status if error.status > 0 else 1)
    except (MediaError, SettingsRefused, OSError) as error:
        raise click.ClickException(_with_cause(error)) from None


def _with_cause(error: Exception) -> str:
    return f"{error} ({error.__cause__})" if error.__cause__ else str(error)
