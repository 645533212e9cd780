"""`mediad upload`: files to a running service, its answers to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from click._termui_impl import ProgressBar

from media_service.config import Settings
from media_service.entrypoints.grpc_api.uploader import UploadRefused, UploadTarget, upload_file


def target(
    settings: Settings, *, address: str | None, token: str, user_id: str, purpose: str
) -> UploadTarget:
    """Where to upload to: the address given, or the one these settings would serve on."""
    return UploadTarget(
        address=address or f"{settings.host}:{settings.grpc_port}",
        token=token or next(iter(settings.tokens.values()), ""),
        user_id=user_id,
        purpose=purpose,
    )


async def upload(to: UploadTarget, files: Sequence[Path]) -> bool:
    """Upload each file; whether all were taken."""
    return all([await _upload_one(to, file) for file in files])


async def _upload_one(to: UploadTarget, file: Path) -> bool:
    try:
        with _progress_bar(file) as bar:
            answer = await upload_file(to, file, on_progress=bar.update)
    except (UploadRefused, OSError) as error:
        click.echo(f"{file}: {error}", err=True)
        return False
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    return True


def _progress_bar(file: Path) -> ProgressBar[int]:
    """A bar on stderr as long as the file. Raises OSError if there is none."""
    return click.progressbar(length=file.stat().st_size, label=file.name, file=sys.stderr)
