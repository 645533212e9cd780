"""A sweeper that lost its lock without knowing takes nothing that was uploaded meanwhile."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import asyncpg

from proofs import oracle
from proofs.kills import Uploading, condemned
from proofs.ledger import Ledger, distinct_pictures
from proofs.oracle import Findings
from proofs.outcomes import Outcome, Run, Stopwatch, require
from proofs.power_cuts import end
from proofs.tracing import CountedMediad

_CALLS = ("rename", "unlink", "fsync")
_DELAY_SECONDS = 1.0
_LOCKERS = """
select pid from pg_locks where locktype = 'advisory' and granted
    and pid <> pg_backend_pid() and objsubid = 1
    and database = (select oid from pg_database where datname = current_database())
"""


def prove(run: Run) -> list[Outcome]:
    """Slow the sweeper down, end its connection, and upload the same bytes: again and again."""
    require("strace")
    ledger, total, pictures = Ledger(), Findings(), distinct_pictures(run.seed)
    mediad = CountedMediad(run.folder / "service", MEDIAD_CELLS="1")
    rounds, ended = run.size(15, quick=2), 0
    try:
        mediad.start()
        for number in range(rounds):
            call = _CALLS[number % len(_CALLS)]
            ended += asyncio.run(_overtaken(mediad, ledger, next(pictures), call))
            findings = asyncio.run(oracle.judge(mediad, ledger, reading=3))
            total.add(findings)
            run.progress(f"{number + 1}/{rounds}, while it waits in {call}: {findings}")
    finally:
        end(mediad)
    return [
        Outcome(
            proof="fence",
            invariant="a sweeper whose lock is gone takes nothing uploaded meanwhile",
            faults=ended,
            acknowledged=ledger.acknowledged,
            losses=total.wrong,
            note=f"{ended} of {rounds} sweepers lost their connection under the lock; "
            f"wrong: {total}",
        )
    ]


async def _overtaken(mediad: CountedMediad, ledger: Ledger, picture: bytes, call: str) -> bool:
    """Let a slow sweep lose its lock, and the bytes it is at come back; whether it lost it."""
    await condemned(mediad, ledger, picture)
    async with oracle.open_database(mediad) as url:
        connection = await asyncpg.connect(url)
        try:
            sweep = _slow_sweep(mediad, call)
            victim = await _locker(connection, sweep)
            if victim:
                await connection.execute("select pg_terminate_backend($1)", victim)
            await Uploading(mediad, ledger, picture).retry()
            await asyncio.to_thread(sweep.wait, 120)
        finally:
            await connection.close()
    return victim is not None


def _slow_sweep(mediad: CountedMediad, call: str) -> subprocess.Popen[bytes]:
    delay = f"inject={call}:delay_enter={int(_DELAY_SECONDS * 1e6)}"
    return subprocess.Popen(
        [
            *("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", delay),
            *(sys.executable, "-m", mediad.module, "sweep", "--grace", "0"),
        ],
        env=mediad.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def _locker(
    connection: asyncpg.Connection[asyncpg.Record], sweep: subprocess.Popen[bytes]
) -> int | None:
    """The backend that holds a lock for the sweep; None if the sweep ends first."""
    watch = Stopwatch()
    while sweep.poll() is None and watch.seconds < 60:
        found = await connection.fetch(_LOCKERS)
        if found:
            await asyncio.sleep(_DELAY_SECONDS / 2)  # well into what it does under the lock
            return int(found[0]["pid"])
        await asyncio.sleep(0.01)
    return None
