"""`mediad upload`: files to a running service, its answers to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click._termui_impl import ProgressBar

from media_service.config import Settings
from media_service.entrypoints.grpc_api.uploader import (
    UploadRefused,
    UploadTarget,
    follow,
    upload_file,
)

_PLAYED = {"VIDEO", "AUDIO"}


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


async def upload(to: UploadTarget, files: Sequence[Path], *, is_waiting: bool = False) -> bool:
    """Upload each file; whether all were taken and, if it is waiting, made."""
    return all([await _upload_one(to, file, is_waiting=is_waiting) for file in files])


async def _upload_one(to: UploadTarget, file: Path, *, is_waiting: bool) -> bool:
    try:
        with _progress_bar(file) as bar:
            answer = await upload_file(to, file, on_progress=bar.update)
        if is_waiting:
            answer = await _made(to, file, answer)
    except (UploadRefused, OSError) as error:
        click.echo(f"{file}: {error}", err=True)
        return False
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    if not is_waiting and answer["media_type"] in _PLAYED and answer["status"] != "COMPLETED":
        click.echo(f"{file}: what plays is being made; --wait waits for it", err=True)
    return bool(answer["status"] != "FAILED")


async def _made(to: UploadTarget, file: Path, uploaded: Mapping[str, Any]) -> dict[str, Any]:
    """What a medium is when the work on it is over."""
    media_id = uploaded["media_id"]
    with click.progressbar(length=100, label=f"{file.name} is being made", file=sys.stderr) as bar:
        try:
            return await follow(to, media_id, on_percent=lambda now: bar.update(now - bar.pos))
        except UploadRefused as error:
            raise UploadRefused(f"uploaded as {media_id}, but: {error}") from error


def _progress_bar(file: Path) -> ProgressBar[int]:
    """A bar on stderr as long as the file. Raises OSError if there is none."""
    return click.progressbar(length=file.stat().st_size, label=file.name, file=sys.stderr)
