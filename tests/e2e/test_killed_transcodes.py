"""One of the deaths that `make proofs` tries: in the middle of ffmpeg's work on a stream."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofs import killed_transcodes
from proofs.outcomes import Run, Verdict

pytestmark = pytest.mark.needs_postgres


def test_a_worker_that_dies_in_a_transcode_leaves_nothing_half_and_nothing_running(
    tmp_path: Path,
) -> None:
    outcomes = killed_transcodes.prove(Run(tmp_path, is_quick=True, seed=1))

    for outcome in outcomes:
        assert outcome.verdict is Verdict.PROVED, outcome.note
