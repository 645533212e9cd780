"""The Python of docs/clients.md runs as it stands, against a real `mediad serve`."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from tests.e2e.processes import Mediad

REPOSITORY = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"^```python\n(.*?)^```",
    (REPOSITORY / "docs" / "clients.md").read_text(),
    re.DOTALL | re.MULTILINE,
)


@pytest.mark.parametrize("block", BLOCKS, ids=[str(n) for n in range(len(BLOCKS))])
async def test_it_runs(block: str, mediad: Mediad, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY / "docs" / "samples")
    source = block.replace("localhost:50051", f"127.0.0.1:{mediad.grpc_port}")
    code = compile(source, "docs/clients.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    running = eval(code, {})
    if inspect.iscoroutine(running):
        await running


def test_there_is_something_to_run() -> None:
    assert len(BLOCKS) >= 4
