"""I13: PostgreSQL restarts, is full, locked, or never says whether it has committed."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import grpc

from proofs.callers import Caller, calling
from proofs.ledger import distinct_pictures
from proofs.load import Call, Load, loaded, refusals
from proofs.network import Network, unix_network
from proofs.oracle import Findings, ask, compare, settled, sweep
from proofs.outcomes import Outcome, Run
from proofs.stack import Stack, open_stack, running
from tests.e2e.processes import Mediad

INVARIANT = "I13: PostgreSQL away is UNAVAILABLE or 503 with Retry-After"
_EVERY_SECONDS = 5.0
_HEALED_SECONDS = 5.0
_PATIENCE_SECONDS = 2.0
_POOL = 10
_SOCKET = ".s.PGSQL.5432"


def prove(run: Run) -> list[Outcome]:
    """Restarts, exhaustion and a lock under load; then lost answers to COMMIT."""
    return asyncio.run(_proved(run))


async def _proved(run: Run) -> list[Outcome]:
    async with open_stack(run.folder) as stack:
        limits = {"MEDIAD_MAX_CONNECTIONS": str(_POOL), "MEDIAD_DELETE_GRACE_SECONDS": "0"}
        mediad = stack.mediad("one", **limits)
        async with running(mediad), calling(mediad) as caller:
            found = [await restarted(run, stack, mediad, caller)]
            found += await _commit_lost(run, stack)
            if not run.is_quick:
                found.append(await _exhausted(run, stack, caller))
            found.append(await _locked(run, stack, caller))
            return found


async def restarted(run: Run, stack: Stack, mediad: Mediad, caller: Caller) -> Outcome:
    """It is killed and started again and again, under load."""
    restarts = run.size(12, quick=1)
    load, healed = Load(caller, run.seed), []
    async with loaded(load):
        for number in range(restarts):
            await asyncio.sleep(_EVERY_SECONDS if number else 0.5)
            healed.append(await _restart(stack, load))
    findings = Findings()
    await settled(stack.database_url)
    await ask(mediad, load.ledger, findings)
    await sweep(mediad)
    await compare(stack.database_url, stack.blobs, findings, load.ledger)
    wrong = _wrong(load.calls) + await _keys_used_twice(stack, load)
    wrong += [f"healed after {s:.1f} s" for s in healed if s > _HEALED_SECONDS]
    met = refusals(load.calls)
    return Outcome(
        proof="postgres away",
        invariant=f"{INVARIANT}; nothing acknowledged is lost; the pool heals in 5 s",
        faults=restarts,
        acknowledged=len(load.ledger.uploaded) + len(load.ledger.deleted),
        losses=len(wrong) + findings.wrong,
        note=f"{wrong[:3] or ''} {findings} wrong; refusals {met}; "
        f"healed in {max(healed):.1f} s at most",
    )


async def _restart(stack: Stack, load: Load) -> float:
    """Kill it as `restart -m immediate` does; how long after it was up the first call went well."""
    before = _postmaster(stack.postmaster_file)
    os.kill(before, signal.SIGQUIT)
    while _postmaster(stack.postmaster_file) in (0, before):
        await asyncio.sleep(0.01)
    up = time.monotonic()
    while not any(call.what == "upload" and not call.refusal for call in load.since(up)):
        await asyncio.sleep(0.01)
        if time.monotonic() - up > 60:
            break
    return time.monotonic() - up


def _postmaster(file: Path) -> int:
    """Its process id, once it takes connections."""
    with suppress(FileNotFoundError, ValueError):
        lines = file.read_text().splitlines()
        if len(lines) > 7 and lines[7].strip() == "ready":
            return int(lines[0])
    return 0


def _wrong(calls: list[Call]) -> list[str]:
    """Refusals that are not what an absent database must look like."""
    return [
        f"{call.what}: {call.refusal}"
        for call in calls
        if call.refusal
        and call.refusal != "UNAVAILABLE"
        and not (call.refusal.startswith("HTTP 503") and call.refusal[9:].isdigit())
    ]


async def _keys_used_twice(stack: Stack, load: Load) -> list[str]:
    async with stack.rows() as rows:
        found = await rows.fetch(
            "select idempotency_key from media where idempotency_key = any($1) "
            "group by 1 having count(*) > 1",
            list(load.keys),
        )
    return [f"two rows of key {row[0]}" for row in found]


async def _commit_lost(run: Run, stack: Stack) -> list[Outcome]:
    """The database has committed, and its word is lost on the way."""
    times = run.size(20, quick=2)
    contents, wrong = distinct_pictures(run.seed + 7), []
    async with AsyncExitStack() as exits:
        folder, socket = run.folder / "net", _socket_of(stack)
        folder.mkdir(mode=0o755)
        network = await exits.enter_async_context(unix_network(socket, listening=folder / _SOCKET))
        url = stack.database_url.replace(str(socket.parent), str(folder))
        assert url != stack.database_url
        far = stack.mediad("far", MEDIAD_DATABASE_URL=url, MEDIAD_ROLES="grpc,http")
        await exits.enter_async_context(running(far))
        caller = await exits.enter_async_context(calling(far))
        for number in range(times):
            network.losing = b"COMMIT;"
            load = Load(caller, run.seed)
            await load.upload(next(contents), f"lost-{number}")
            wrong += _wrong(load.calls) + await _keys_used_twice(stack, load)
        if network.lost != times:
            wrong.append(f"only {network.lost} answers were lost")
        unreachable = await _unreachable(run, network, caller)
    return [
        unreachable,
        Outcome(
            proof="postgres away",
            invariant="I13: with a key, a retry after an unknown COMMIT is the same row",
            faults=times,
            acknowledged=times,
            losses=len(wrong),
            note="; ".join(wrong[:3]) or "the answer to COMMIT lost, and the connection with it",
        ),
    ]


async def _unreachable(run: Run, network: Network, caller: Caller) -> Outcome:
    """Nothing comes back from the server, and no connection ends."""
    contents, waiting = distinct_pictures(run.seed + 8), _Waiting(caller)
    ids = [await caller.upload(next(contents)) for _ in range(3 * _POOL)]
    network.hold()
    until = time.monotonic() + run.size(40, quick=1)
    while time.monotonic() < until:
        await asyncio.gather(*(waiting.call(media_id) for media_id in ids))
    network.release()
    begun = time.monotonic()
    await Load(caller, run.seed + 3).upload(next(contents), "after-the-hole")
    healed = time.monotonic() - begun
    wrong = waiting.wrong()
    wrong += [f"healed after {healed:.1f} s"] if healed > _HEALED_SECONDS else []
    return Outcome(
        proof="postgres away",
        invariant="I13: a network that swallows everything means deadlines, not a pile-up",
        faults=len(waiting.seconds),
        losses=len(wrong),
        note=f"{wrong[:3] or ''} {waiting.codes}; {max(waiting.seconds):.1f} s at most, "
        f"well again after {healed:.1f} s",
    )


def _socket_of(stack: Stack) -> Path:
    """The socket that the database's URL names."""
    [folder] = parse_qs(urlsplit(stack.database_url).query)["host"]
    return Path(folder) / _SOCKET


async def _exhausted(run: Run, stack: Stack, caller: Caller) -> Outcome:
    """Others take every connection that the server has."""
    taken: list[asyncpg.Connection[asyncpg.Record]] = []
    load = Load(caller, run.seed + 1)
    async with loaded(load):
        with suppress(asyncpg.PostgresError):
            while True:
                taken.append(await asyncpg.connect(stack.database_url))
        struck = time.monotonic()
        await asyncio.sleep(10)
        for connection in taken:
            await connection.close()
        ended = time.monotonic()
        await asyncio.sleep(2 * _HEALED_SECONDS)
    wrong = _wrong(load.since(struck))
    wrong += list(refusals(load.since(ended + _HEALED_SECONDS)))
    return Outcome(
        proof="postgres away",
        invariant=f"{INVARIANT}: no connection is left",
        faults=1,
        acknowledged=len(load.ledger.uploaded),
        losses=len(wrong),
        note=f"{wrong[:3] or ''} {len(taken)} connections taken; "
        f"refusals {refusals(load.since(struck)) or 'none'}",
    )


@dataclasses.dataclass(slots=True)
class _Waiting:
    """Callers at a locked table, and how long each waited."""

    caller: Caller
    seconds: list[float] = dataclasses.field(default_factory=list)
    codes: dict[str, int] = dataclasses.field(default_factory=dict)

    async def call(self, media_id: str) -> None:
        """One call with a deadline."""
        begun, code = time.monotonic(), "OK"
        try:
            await self.caller.delete(media_id, timeout=_PATIENCE_SECONDS)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        self.seconds.append(time.monotonic() - begun)
        self.codes[code] = self.codes.get(code, 0) + 1

    def wrong(self) -> list[str]:
        """Who was answered otherwise, or too late."""
        late = [f"waited {s:.1f} s" for s in self.seconds if s > _PATIENCE_SECONDS + 1.5]
        codes = set(self.codes) - {"DEADLINE_EXCEEDED", "UNAVAILABLE"}
        return late + [f"{self.codes[code]} × {code}" for code in codes]


async def _locked(run: Run, stack: Stack, caller: Caller) -> Outcome:
    """Somebody locks the table of media: calls end at their deadlines, and nothing piles up."""
    seconds, at_once = run.size(30, quick=3), run.size(60, quick=30)
    contents = distinct_pictures(run.seed + 9)
    ids = [await caller.upload(next(contents)) for _ in range(at_once)]
    waiting, most = _Waiting(caller), 0
    async with stack.rows() as rows, rows.transaction():
        await rows.execute("lock table media in access exclusive mode")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.gather(*(waiting.call(media_id) for media_id in ids))
            most = max(most, await stack.count(_CONNECTIONS))
    begun = time.monotonic()
    load = Load(caller, run.seed + 2)
    await load.upload(next(contents), "after-the-lock")
    healed = time.monotonic() - begun
    wrong = waiting.wrong()
    wrong += [f"{most} connections"] if most > 2 * _POOL + 8 else []
    wrong += [f"healed after {healed:.1f} s"] if healed > _HEALED_SECONDS else []
    return Outcome(
        proof="postgres away",
        invariant="I13: a locked table means deadlines, not a pile-up",
        faults=len(waiting.seconds),
        losses=len(wrong),
        note=f"{wrong[:3] or ''} {waiting.codes}; {most} connections at most, "
        f"{max(waiting.seconds):.1f} s at most, well again after {healed:.1f} s",
    )


_CONNECTIONS = "select count(*) from pg_stat_activity where application_name like 'mediad%'"
