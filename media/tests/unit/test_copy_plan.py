from __future__ import annotations

from pathlib import Path

import click
import pytest
from media_service.commands.copy_blobs import plan
from media_service.config import Settings, SettingsRefused, read_settings

OLD, NEW, THIRD = "file:///old", "file:///new", "file:///third"


def settings(tmp_path: Path, *, store: str = NEW, fallback: str = OLD) -> Settings:
    return read_settings(data_dir=tmp_path, storage_url=store, storage_fallback_url=fallback)


@pytest.mark.parametrize(
    ("source", "target", "sources", "to"),
    [
        (None, None, (OLD,), NEW),
        (None, THIRD, (NEW, OLD), THIRD),
        (THIRD, None, (THIRD,), NEW),
        (OLD, NEW, (OLD,), NEW),
    ],
)
def test_the_settings_say_what_is_copied_where(
    tmp_path: Path, source: str | None, target: str | None, sources: tuple[str, ...], to: str
) -> None:
    planned = plan(settings(tmp_path), source, target, originals_only=False, at_once=1)

    assert (planned.sources, planned.target) == (sources, to)


@pytest.mark.parametrize(
    ("source", "target"), [(NEW, None), (NEW + "/", None), (None, OLD), (None, NEW), (OLD, OLD)]
)
def test_a_store_is_never_copied_onto_itself(
    tmp_path: Path, source: str | None, target: str | None
) -> None:
    with pytest.raises(click.UsageError, match="onto itself"):
        plan(settings(tmp_path), source, target, originals_only=False, at_once=1)


def test_without_a_fallback_one_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="MEDIAD_STORAGE_FALLBACK_URL"):
        plan(settings(tmp_path, fallback=""), None, None, originals_only=False, at_once=1)


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="not the address"):
        plan(settings(tmp_path), None, "/mnt/new", originals_only=False, at_once=1)


def test_a_store_is_not_its_own_fallback(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefused, match="another store"):
        settings(tmp_path, store=NEW, fallback=NEW)
