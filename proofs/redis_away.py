"""I12: Redis is slow, dead, unreachable, full or emptied, and nobody notices but the metrics."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from embedded_servers.valkey import open_valkey
from redis.asyncio import Redis

from proofs.callers import calling
from proofs.load import Call, Load, loaded, p99, refusals
from proofs.network import Network, tcp_network
from proofs.outcomes import Outcome, Run
from proofs.stack import open_stack, running

INVARIANT = "I12: no request fails for want of Redis"
_ADDED_SECONDS = 0.1
"""What a call may take longer, where three times as long as before is less."""
_HEALED_SECONDS = 10.0


def prove(run: Run) -> list[Outcome]:
    """One outcome per way to lose Redis, under load."""
    return asyncio.run(_proved(run))


async def _proved(run: Run) -> list[Outcome]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        parts = await enter(open_stack(run.folder))
        server = await enter(_valkey(run.folder / "valkey"))
        address = urlsplit(server)
        assert address.hostname
        assert address.port
        network = await enter(tcp_network(address.hostname, address.port))
        own = f"redis://127.0.0.1:{network.port}/0"
        mediad = parts.mediad("one", MEDIAD_REDIS_URL=own)
        await enter(running(mediad))
        load = Load(await enter(calling(mediad)), run.seed)
        await enter(loaded(load))
        faults = _Faults(run, network, await enter(Redis.from_url(server, protocol=2)))
        return [await faults.outcome(load, how) for how in faults.ways()]


@asynccontextmanager
async def _valkey(folder: Path) -> AsyncIterator[str]:
    async with open_valkey(folder) as url:
        yield url


@dataclasses.dataclass(slots=True)
class _Faults:
    run: Run
    network: Network
    redis: Redis

    @property
    def seconds(self) -> float:
        """How long each lasts."""
        return float(self.run.size(12, quick=1))

    def ways(self) -> list[Callable[[], Awaitable[None]]]:
        """In this order: the server is killed last."""
        if self.run.is_quick:
            return [self.unreachable, self.killed]
        return [self.full, self.emptied, self.unreachable, self.asleep, self.stopped, self.killed]

    async def outcome(self, load: Load, fault: Callable[[], Awaitable[None]]) -> Outcome:
        """What callers noticed of one fault."""
        began = time.monotonic()
        await asyncio.sleep(self.seconds / 2)
        struck = time.monotonic()
        await fault()
        ended = time.monotonic()
        await asyncio.sleep(min(self.seconds, _HEALED_SECONDS))
        after = self._best(load, ended)
        before, during = load.since(began, struck), load.since(struck, ended)
        refused = refusals([*during, *load.since(ended)])
        allowed = max(3 * p99(before), p99(before) + _ADDED_SECONDS)
        slow = {"during": p99(during) > allowed, "after": p99(after) > allowed}
        losses = sum(refused.values()) + (0 if self.run.is_quick else sum(slow.values()))
        self.run.progress(f"{fault.__name__}: {len(during)} calls")
        return Outcome(
            proof="redis away",
            invariant=f"{INVARIANT}: {fault.__name__}",
            faults=1,
            acknowledged=len(during),
            losses=losses,
            note=f"{refused or 'no refusal'}; {_slowness(before, during, after)}",
        )

    def _best(self, load: Load, ended: float) -> list[Call]:
        """The calls of the fastest two seconds since: all is well again when they are as before."""
        windows = (load.since(ended + n, ended + n + 2) for n in range(int(_HEALED_SECONDS) - 1))
        return min((calls for calls in windows if calls), key=p99, default=[])

    async def full(self) -> None:
        """It takes no more keys."""
        await self.redis.config_set("maxmemory", "1mb")
        await self.redis.config_set("maxmemory-policy", "noeviction")
        await asyncio.sleep(self.seconds)
        await self.redis.config_set("maxmemory", "0")

    async def emptied(self) -> None:
        """It forgets everything, again and again."""
        for _ in range(10):
            await self.redis.flushall()
            await asyncio.sleep(self.seconds / 10)

    async def unreachable(self) -> None:
        """Packets go in and nothing comes out."""
        self.network.hold()
        await asyncio.sleep(self.seconds)
        self.network.release()

    async def asleep(self) -> None:
        """It answers nobody for a while, as after DEBUG SLEEP."""
        await self.redis.client_pause(int(self.seconds * 1000), all=True)
        await asyncio.sleep(self.seconds)

    async def stopped(self) -> None:
        """Its process is stopped."""
        pid = int((await self.redis.info("server"))["process_id"])
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(self.seconds)
        os.kill(pid, signal.SIGCONT)

    async def killed(self) -> None:
        """It is killed, and another comes at another address."""
        pid = int((await self.redis.info("server"))["process_id"])
        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(self.seconds)


def _slowness(before: list[Call], during: list[Call], after: list[Call]) -> str:
    times = " → ".join(f"{p99(calls) * 1000:.0f}" for calls in (before, during, after))
    return f"p99 {times} ms"
