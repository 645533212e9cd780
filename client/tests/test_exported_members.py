"""The public namespace is what `__all__` says, and each name has an example."""

from __future__ import annotations

import inspect

import media_client
import media_client.testing
import pytest
from media_client import errors


@pytest.mark.parametrize("module", [media_client, media_client.testing, errors])
def test_what_is_imported_publicly_is_exported(module: object) -> None:
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not (inspect.ismodule(value) and name not in ("errors", "transformations"))
        and name not in ("annotations", "Iterator", "BY_CODE")
    }
    missing_modules = (
        {"models", "testing", "errors", "transformations"} if module is media_client else set()
    )

    assert public - missing_modules == set(module.__all__) - missing_modules  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", [media_client, media_client.testing])
def test_every_public_name_has_an_example(module: object) -> None:
    without = {
        name
        for name in module.__all__  # type: ignore[attr-defined]
        if inspect.isclass(value := getattr(module, name)) or inspect.isfunction(value)
        if ">>>" not in (value.__doc__ or "")
    }

    assert without == set()


def test_every_call_has_an_example() -> None:
    calls = inspect.getmembers(media_client.MediaApi, inspect.iscoroutinefunction)
    without = {n for n, f in calls if not n.startswith("_") and ">>>" not in (f.__doc__ or "")}

    assert without == set()
