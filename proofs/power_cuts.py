"""An acknowledged upload survives a power cut: database and bytes together, on ext4 and xfs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import Callable, Iterator

import psutil

from proofs import oracle
from proofs.disks import LoopDisk, loop_disk
from proofs.ledger import Ledger, distinct_pictures, keep_writing
from proofs.oracle import Findings
from proofs.outcomes import CannotRun, Outcome, Run, Stopwatch, require
from tests.e2e.processes import Mediad

KINDS = ("ext4", "xfs")
_INVARIANT = "acknowledged uploads and deletions survive a power cut"
_READ_OVER_HTTP = 20
_LEAST_ACKNOWLEDGED = 3
"""Before a cut: a machine that is busy may need longer."""
_SLOW_SECONDS = 30
_FLUSHES = "fsync,fdatasync,syncfs,sync_file_range,msync"
LYING = (
    *("strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={_FLUSHES}"),
    *("-e", f"inject={_FLUSHES}:retval=0"),
)
"""Every flush of the service and its database says that it is done, and does nothing."""


def prove(run: Run) -> list[Outcome]:
    """Cut the power again and again, on both file systems; then with flushes that lie."""
    found = []
    for kind in KINDS:
        cut = functools.partial(cuts, run, kind, rounds=run.size(25, quick=2))
        begin = functools.partial(first_starts, run, kind, rounds=run.size(5, quick=1))
        lie = functools.partial(lies, run, kind, rounds=run.size(3, quick=1))
        found += [tried(kind, prove_it) for prove_it in (cut, begin, lie)]
    return found


def tried(kind: str, prove_it: Callable[[], Outcome]) -> Outcome:
    """What it found, or why it could not run."""
    try:
        return prove_it()
    except CannotRun as why:
        return Outcome(proof=f"power_cuts {kind}", invariant=_INVARIANT, skipped=str(why))


def cuts(run: Run, kind: str, *, rounds: int) -> Outcome:
    """One service on one disk, whose power is cut under load whenever it is up again."""
    ledger, total, pictures = Ledger(), Findings(), distinct_pictures(run.seed)
    with loop_disk(run.folder / f"{kind}-cuts", kind=kind) as disk, on_disk(disk) as mediad:
        mediad.start()
        for number in range(rounds):
            seed = run.seed + number
            asyncio.run(_write_until_cut(disk, mediad, ledger, pictures, seed))
            mediad.start()
            findings = asyncio.run(oracle.judge(mediad, ledger, reading=_READ_OVER_HTTP))
            total.add(findings)
            run.progress(f"{kind}, cut {number + 1} of {rounds}: {ledger}; wrong: {findings}")
    return Outcome(
        proof=f"power_cuts {kind}",
        invariant=_INVARIANT,
        faults=rounds,
        acknowledged=ledger.acknowledged,
        losses=total.wrong,
        note=str(total) if total.wrong else str(ledger),
    )


def first_starts(run: Run, kind: str, *, rounds: int) -> Outcome:
    """A cut while everything is made for the first time: the next start works."""
    failed = 0
    with loop_disk(run.folder / f"{kind}-starts", kind=kind) as disk:
        for number in range(rounds):
            with on_disk(disk, name=f"data{number}") as mediad:
                asyncio.run(_cut_a_start(disk, mediad, run.seed + number))
                try:
                    mediad.start()
                except AssertionError as error:
                    failed += 1
                    run.progress(str(error))
            run.progress(f"{kind}, cut {number + 1} of {rounds} first starts: {failed} failed")
    return Outcome(
        proof=f"power_cuts {kind}, first start",
        invariant="a first start that was cut short begins again",
        faults=rounds,
        losses=failed,
    )


def lies(run: Run, kind: str, *, rounds: int) -> Outcome:
    """The same with flushes that do nothing: what was acknowledged must be seen to be lost."""
    require("strace")
    lost = acknowledged = 0
    for number in range(rounds):
        ledger, pictures = Ledger(), distinct_pictures(run.seed)
        folder = run.folder / f"{kind}-lies{number}"
        with loop_disk(folder, kind=kind) as disk, on_disk(disk) as mediad:
            mediad.launcher = LYING
            mediad.start()
            disk.flush()
            seed = run.seed + number
            asyncio.run(_write_until_cut(disk, mediad, ledger, pictures, seed))
            mediad.launcher = ()
            lost += _lost(mediad, ledger)
            acknowledged += ledger.acknowledged
        run.progress(f"{kind}, lie {number + 1} of {rounds}: {lost} of {acknowledged} lost")
    return Outcome(
        proof=f"power_cuts {kind}",
        invariant="without fsync, all the rest alike, they are lost",
        faults=rounds,
        acknowledged=acknowledged,
        losses=lost,
        is_control=True,
    )


def _lost(mediad: Mediad, ledger: Ledger) -> int:
    """How much is lost: everything, where the service does not even start any more."""
    try:
        mediad.start()
    except AssertionError:
        return ledger.acknowledged
    findings = Findings()
    asyncio.run(oracle.ask(mediad, ledger, findings))
    return len(findings.lost) + len(findings.undead)


@contextlib.contextmanager
def on_disk(disk: LoopDisk, *, name: str = "data") -> Iterator[Mediad]:
    """A service whose database and bytes lie on the disk, and its log does not."""
    folder = disk.at.with_name(f"service-{name}")
    mediad = Mediad(folder, MEDIAD_DATA_DIR=str(disk.at / name), MEDIAD_CELLS="1")
    try:
        yield mediad
    finally:
        end(mediad)


async def _write_until_cut(
    disk: LoopDisk,
    mediad: Mediad,
    ledger: Ledger,
    pictures: Iterator[bytes],
    seed: int,
) -> None:
    """Have it written to, cut the power at a random moment, see everything dead, mount again."""
    writer = asyncio.create_task(keep_writing(mediad, ledger, pictures, seed=seed))
    enough, watch = ledger.acknowledged + _LEAST_ACKNOWLEDGED, Stopwatch()
    await asyncio.sleep(random.Random(seed).uniform(0.3, 1.6))
    while ledger.acknowledged < enough and watch.seconds < _SLOW_SECONDS:
        await asyncio.sleep(0.01)
    disk.cut_power()
    await asyncio.sleep(0.2)  # whatever is still acknowledged now counts as well
    await asyncio.to_thread(end, mediad)
    writer.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writer
    disk.unmount()
    disk.mount()


async def _cut_a_start(disk: LoopDisk, mediad: Mediad, seed: int) -> None:
    starting = asyncio.create_task(asyncio.to_thread(mediad.start))
    await asyncio.sleep(random.Random(seed).uniform(0.2, 2.0))
    disk.cut_power()
    await asyncio.to_thread(end, mediad)
    with contextlib.suppress(AssertionError):
        await starting
    disk.unmount()
    disk.mount()


def end(mediad: Mediad) -> None:
    """Kill the service with all its processes."""
    if not mediad.is_started:
        return
    processes = []
    with contextlib.suppress(psutil.NoSuchProcess):
        processes = psutil.Process(mediad.pid).children(recursive=True)
    mediad.kill()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=20)
