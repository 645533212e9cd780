"""A few of the sequences that `make proofs` tries by the hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofs import life_of_media
from proofs.outcomes import Run, Verdict

pytestmark = pytest.mark.needs_postgres


def test_whatever_is_done_in_whatever_order_rows_and_bytes_are_right(tmp_path: Path) -> None:
    [outcome] = life_of_media.prove(Run(tmp_path, is_quick=True, seed=1))

    assert outcome.verdict is Verdict.PROVED, outcome.note
    assert outcome.acknowledged
