"""House rules that no linter of the field knows."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE_LINES, FUNCTION_LINES = 400, 40
FLAT_LISTS = {"open_media_service", "media_service"}
"""What puts the service together."""


def tracked(pattern: str = "*") -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", pattern],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def sources() -> list[Path]:
    """Code written by hand, tests apart."""
    return [
        file
        for file in tracked("*.py")
        if "_pb2" not in file.name and "tests" not in file.relative_to(ROOT).parts
    ]


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, its docstring apart."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_modules_are_short() -> None:
    long = {f: n for f in sources() if (n := len(f.read_text().splitlines())) > MODULE_LINES}

    assert not long


def test_functions_are_short() -> None:
    long = [
        f"{file.relative_to(ROOT)}:{function.lineno} {function.name} ({length(function)})"
        for file in sources()
        for function in functions(ast.parse(file.read_text()))
        if length(function) > FUNCTION_LINES and function.name not in FLAT_LISTS
    ]

    assert not long


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"(^|[^A-Za-z])/(work|root|home)/[a-z]", id="a machine's paths"),
        pytest.param(r"(pypi|pythonhosted|npmjs|proxy\.golang)\.(org|com)", id="registries"),
    ],
)
def test_files_name_no(pattern: str) -> None:
    this = Path(__file__)
    found = [
        str(file.relative_to(ROOT))
        for file in tracked()
        if file != this and file.suffix not in {".jpg", ".png", ".binpb"}
        and re.search(pattern, file.read_text(errors="ignore"), re.MULTILINE)
    ]  # fmt: skip

    assert not found


def test_every_python_file_of_ours_says_why_it_exists() -> None:
    silent = [
        str(file.relative_to(ROOT))
        for file in sources()
        if file.read_text().strip() and not ast.get_docstring(ast.parse(file.read_text()))
    ]

    assert not silent


def test_documents_link_to_what_is_there() -> None:
    broken = [
        f"{file.relative_to(ROOT)}: {target}"
        for file in tracked("*.md")
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text())
        if not (file.parent / target).exists()
    ]

    assert not broken
