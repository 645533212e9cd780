"""SIGTERM at random moments under load: the short version of a proof."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofs import terminated
from proofs.outcomes import Run, Verdict

pytestmark = [pytest.mark.needs_postgres, pytest.mark.timeout(240)]


def test_who_is_asked_to_end_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    (outcome,) = terminated.prove(Run(tmp_path, is_quick=True, seed=22))

    assert outcome.verdict is Verdict.PROVED, outcome.note
    assert outcome.acknowledged
