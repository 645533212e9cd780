"""What documents say was measured is what the benchmarks found last."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.reports import read_results

README = Path(__file__).parents[2] / "README.md"


def test_the_page_of_scaling_is_computed_from_what_was_measured() -> None:
    page = scaling.PAGE.read_text()

    computed = scaling.written(page, scaling.Measured(read_results()))

    assert page == computed, "run `python -m benchmarks.scaling`"


def test_the_readme_shows_what_was_measured() -> None:
    readme = README.read_text()

    stale = [
        row["name"]
        for row in read_results()
        if f"| {row['name']} | {row['ours']:.4g} {row['unit']} |" not in readme
    ]

    assert stale == [], "put the tables that `make bench` printed into README.md"


def test_what_several_benchmarks_measured_is_not_taken_for_one() -> None:
    rows = [{"name": "upload, one way", "ours": 1.0}, {"name": "upload, another", "ours": 2.0}]

    with pytest.raises(ValueError, match="several"):
        scaling.Measured(rows).ours("upload")
