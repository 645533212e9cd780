"""The command line: what it teaches, and what it says of things that are not there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from media_service.__main__ import main
from media_service.commands.doctor import Doubt, _cache, _decoders, _fallback
from media_service.commands.fsck import _table
from media_service.config import read_settings
from media_service.core.auditing import AuditReport
from media_service.core.audits import Difference
from media_service.core.errors import StorageUnavailable
from media_service.core.formats import Format
from media_service.entrypoints.grpc_api.uploader import (
    UploadRefused,
    UploadTarget,
    purpose_of,
    upload_file,
)


def lessons(command: click.Command, name: str) -> Iterator[str]:
    """The help of a command and of those below it."""
    context = click.Context(command, info_name=name)
    yield command.get_help(context)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from lessons(below, f"{name} {below.name}")


def test_the_lines_of_examples_stay_lines() -> None:
    taught = "".join(lessons(main, "mediad"))

    assert "\\b" not in taught
    assert "\n    mediad fsck --repair\n" in taught


def test_a_repair_speaks_of_the_trash_only_if_something_went_there() -> None:
    report = AuditReport()
    report.label = "fsck-20300101t120000-1f2e3d4c"
    report.repaired[Difference.MISSING_RENDITION] = 1
    assert "--undo" not in _table(report)

    report.repaired[Difference.ORPHANED_OBJECT] = 1
    assert f"--undo {report.label}" in _table(report)


async def test_an_upload_to_nobody_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    address = f"unix:{tmp_path}/nobody"
    target = UploadTarget(address=address, token="", user_id="1", purpose="AVATAR")

    with pytest.raises(UploadRefused, match="nobody: start `mediad serve`, or say --address"):
        await upload_file(target, tmp_path / "photo.jpg", on_progress=lambda _count: None)


@pytest.mark.parametrize(
    ("name", "purpose"),
    [
        ("photo.jpg", "PROFILE_PICTURE"),
        ("photo", "PROFILE_PICTURE"),
        ("IMG_0042.MOV", "POST_ATTACHMENT"),
        ("voice.mp3", "POST_ATTACHMENT"),
        ("letter.pdf", "MESSAGE_ATTACHMENT"),
    ],
)
def test_a_file_is_uploaded_for_what_suits_its_name(name: str, purpose: str) -> None:
    assert purpose_of(name) == purpose


async def test_the_doctor_names_every_format_that_is_taken(tmp_path: Path) -> None:
    told = (await _decoders(read_settings(data_dir=tmp_path))).partition(";")[0]

    assert {format.name for format in Format} - {"HEIC"} <= set(told.split(", "))


async def test_the_doctor_looks_at_the_other_store(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("no folder")
    other = f"file://{tmp_path}/other"

    with pytest.raises(StorageUnavailable):
        await _fallback(read_settings(data_dir=tmp_path, storage_fallback_url=other))


async def test_the_doctor_doubts_a_cache_that_is_away_and_lets_serve_begin() -> None:
    nobody = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = nobody.sockets[0].getsockname()[1]
    nobody.close()
    await nobody.wait_closed()

    with pytest.raises(Doubt, match="MEDIAD_REDIS_URL"):
        await _cache(read_settings(redis_url=f"redis://127.0.0.1:{port}"))
