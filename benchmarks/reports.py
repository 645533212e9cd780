"""Rows of results, as a table for people and JSON for machines."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "latest.json"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured claim: `ours` and `reference` in `unit`, and whether the target is met."""

    name: str
    ours: float
    reference: float
    unit: str
    target: str
    is_met: bool | None
    note: str = ""

    @property
    def ratio(self) -> float:
        """Ours to the reference's."""
        return self.ours / self.reference if self.reference else float("nan")


def print_table(rows: list[Row]) -> None:
    """A table in Markdown."""
    print("\n| what | ours | reference | ratio | target | met | note |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        met = {True: "yes", False: "**no**", None: "–"}[row.is_met]
        print(
            f"| {row.name} | {row.ours:.4g} {row.unit} | {row.reference:.4g} {row.unit} "
            f"| {_ratio(row)} | {row.target} | {met} | {row.note} |"
        )


def _ratio(row: Row) -> str:
    return f"{row.ratio:.2f}" if row.reference else "–"


def write_results(measured: Mapping[str, list[Row]]) -> None:
    """Keep the rows of these benchmarks, in place of what they measured before."""
    moment = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    machine = f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    kept = [row for row in read_results() if row.get("benchmark") not in measured]
    new = [
        {"benchmark": name, "measured_at": moment, "machine": machine}
        | dataclasses.asdict(row)
        | {"ratio": round(row.ratio, 3) if row.reference else None}
        for name, rows in measured.items()
        for row in rows
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"rows": kept + new}, indent=2) + "\n")


def read_results() -> list[dict[str, Any]]:
    """The rows that were kept."""
    if not RESULTS.exists():
        return []
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text())["rows"]
    return rows


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
