"""Every example in the documentation runs, and shows what it says."""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
import io
import pkgutil
from contextlib import redirect_stdout
from types import CodeType, ModuleType
from typing import Any

import media_client
import media_client.testing
import pytest
from media_client.testing import FakeMediaClient, sample_picture

_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _modules() -> list[ModuleType]:
    found = pkgutil.walk_packages(media_client.__path__, "media_client.")
    return [media_client, *(__import__(each.name, fromlist=["_"]) for each in found)]


def _examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder()
    return [t for module in _modules() for t in finder.find(module, module.__name__) if t.examples]


async def _shown(example: doctest.Example, names: dict[str, Any]) -> str:
    """What an example prints, as `python -m asyncio` would show it."""
    output = io.StringIO()
    with redirect_stdout(output):
        code: CodeType = compile(
            example.source, "<example>", "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        result = eval(code, names)
        if inspect.iscoroutine(result):
            await result
    return output.getvalue()


async def _run(test: doctest.DocTest) -> None:
    async with FakeMediaClient() as media:
        public = {n: getattr(media_client, n) for n in media_client.__all__}
        testing = {n: getattr(media_client.testing, n) for n in media_client.testing.__all__}
        names = public | testing | {"media": media, "picture": sample_picture(), "asyncio": asyncio}
        for example in test.examples:
            shown = await _shown(example, names)
            is_right = doctest.OutputChecker().check_output(example.want, shown, _FLAGS)
            assert is_right, f"{test.name}: {example.source}shows {shown!r}, not {example.want!r}"


@pytest.mark.parametrize("test", _examples(), ids=lambda test: test.name)
async def test_example(test: doctest.DocTest) -> None:
    await asyncio.wait_for(_run(test), 30)
