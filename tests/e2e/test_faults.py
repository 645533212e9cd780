"""The shortest versions of some proofs: `make proofs` runs them all, and long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from proofs import power_cuts
from proofs.disks import fill
from proofs.full_disk import storage_full
from proofs.ledger import Ledger, completed, upload
from proofs.oracle import Findings, blob_folder, compare, open_database
from proofs.outcomes import CannotRun, Outcome, Run, Verdict
from proofs.reports import table
from tests.e2e.processes import Mediad, stub


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, is_quick=True, seed=3)


def proved(prove: Callable[[], Outcome]) -> Outcome:
    try:
        outcome = prove()
    except CannotRun as why:
        pytest.skip(str(why))
    assert outcome.verdict is Verdict.PROVED, outcome.note
    return outcome


def test_a_power_cut_loses_nothing_that_was_acknowledged(run: Run) -> None:
    outcome = proved(lambda: power_cuts.cuts(run, "ext4", rounds=1))

    assert outcome.acknowledged


def test_without_flushes_a_power_cut_is_seen_to_lose(run: Run) -> None:
    outcome = proved(lambda: power_cuts.lies(run, "ext4", rounds=1))

    assert outcome.losses


def test_a_full_disk_refuses_uploads_and_nothing_else(run: Run) -> None:
    try:
        wrong = storage_full(run, "size=64m", fill)
    except CannotRun as why:
        pytest.skip(str(why))

    assert wrong == []


async def test_the_oracle_sees_what_is_planted(mediad: Mediad, photo: bytes) -> None:
    folder, ledger, findings = blob_folder(mediad), Ledger(), Findings()
    async with mediad.channel() as channel:
        media_id = await upload(stub(channel), photo, ledger)
        await completed(stub(channel), str(media_id))
    ledger.uploaded["lost"] = "a" * 64
    planted = [folder / "originals" / ("b" * 64), folder / "staging" / "left"]
    planted.append(folder / "renditions" / f"{'c' * 64}.fit-1x1")
    for file in planted:
        file.write_bytes(b"planted")

    try:
        async with open_database(mediad) as url:
            await compare(url, folder, findings, ledger)
    finally:
        for file in planted:
            file.unlink()

    assert findings == Findings(
        lost=["the bytes of " + "a" * 64],
        bytes_without_rows=[planted[0].name, planted[2].name],
        staged=[str(planted[1])],
    )


def test_a_control_that_loses_nothing_proves_nothing() -> None:
    blind = Outcome(proof="p", invariant="i", is_control=True)
    seeing = Outcome(proof="p", invariant="i", is_control=True, losses=3)
    lossy = Outcome(proof="p", invariant="i", losses=3)
    absent = Outcome(proof="p", invariant="i", skipped="needs root")

    verdicts = [one.verdict for one in (blind, seeing, lossy, absent)]

    assert verdicts == [Verdict.BLIND, Verdict.PROVED, Verdict.LOST, Verdict.SKIPPED]
    assert "skipped: needs root" in table([absent])
