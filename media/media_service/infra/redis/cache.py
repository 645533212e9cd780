"""The cache that several processes share, in Redis or Valkey.

A change must never be hidden by what Redis still holds, whatever happens to Redis, to the
network or to us. What makes that so:

- Dropping an id puts a tombstone in its place for 15 seconds. Filling only sets keys that are
  not there, and only with what was read in the last 10 seconds. So a fill that began before a
  drop and comes after it finds the tombstone.
- An id that Redis could not be told to forget is owed. This process does not read it, and tells
  Redis as soon as it answers again; the tombstone then stands for two minutes, longer than TCP
  goes on delivering what we wrote before we gave up. Fills whose fate is unknown are owed too.
- When Redis was away, nothing is read from it for another second, so that every process has
  told it what it owed before anyone reads.
- Keys carry a generation, which is read with every answer. With too many ids owed, a new one is
  begun and everything abandoned. The generation names the Redis process that it was begun on: a
  Redis that was flushed, restarted from a snapshot or replaced by its replica, and may have lost
  tombstones, gets a new one.

What remains: a process that is killed while it owes leaves a stale value for up to an hour, as
does a Redis that goes on as two; a process that noticed nothing of an outage may read one for the
quarter of a second that others need to tell Redis. Not for Redis Cluster: the keys of one call
lie in different slots.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from media_service.core.media import Media, MediaId
from media_service.infra.redis.connecting import Server, client
from media_service.infra.redis.gathering import Found, Gathering
from media_service.infra.redis.trust import Trust
from media_service.infra.redis.values import Unreadable, decoded, encoded

T = TypeVar("T")

HITS = Counter("mediad_cache_hits_total", "Media that the cache remembered", ["cache"])
MISSES = Counter("mediad_cache_misses_total", "Media that the cache did not remember", ["cache"])
ERRORS = Counter("mediad_cache_errors_total", "Calls to the cache that failed", ["cache"])

FOUND_SECONDS = 3600
MISSING_SECONDS = 5
TOMBSTONE_SECONDS = 15
LATE_TOMBSTONE_SECONDS = 120
FILL_WITHIN_SECONDS = 10.0

TIMEOUT_SECONDS = 0.05
REPAIR_TIMEOUT_SECONDS = 0.5
"""More patience than a call has: this is where a connection that takes long is made."""
REPAIR_EVERY_SECONDS = 0.25

GENERATION_KEY: Final = "mediad:media:generation"
TOMBSTONE: Final = b"mediad:dropped"
_ATTEMPTS = 3
_PAID_AT_ONCE = 500

logger = logging.getLogger(__name__)


class RedisCache:
    """Media in Redis. A Redis that is slow or away is passed over and tried again meanwhile."""

    def __init__(
        self,
        redis: Redis,
        *,
        server: Server,
        timeout_seconds: float = TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._server = server
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._trust = Trust(clock=clock)
        self._gets: Gathering[None] = Gathering(self._get_together)
        self._fills: Gathering[tuple[Media | None, float]] = Gathering(self._fill_together)
        self._drops: Gathering[None] = Gathering(self._drop_together)
        self._generation = b""
        self._generation_since = 0.0
        self._hits = HITS.labels("redis")
        self._misses = MISSES.labels("redis")
        self._errors = ERRORS.labels("redis")

    async def get(self, ids: Sequence[MediaId]) -> Found:
        """What is remembered; None for an id that is known not to be there."""
        found: Found = {}
        if ids and self._trust.may_read:
            all_found = await self._gets.join(dict.fromkeys(ids))
            found = {media_id: all_found[media_id] for media_id in ids if media_id in all_found}
        self._hits.inc(len(found))
        self._misses.inc(len(ids) - len(found))
        return found

    def begin(self) -> float:
        """To be called before reading what will be filled in."""
        return self._clock()

    async def fill(self, found: Mapping[MediaId, Media | None], *, begun: float) -> None:
        """Remember what was read since `begun`."""
        if found and self._may_fill(begun):
            await self._fills.join({i: (media, begun) for i, media in found.items()})

    async def drop(self, ids: Iterable[MediaId]) -> None:
        """Forget."""
        dropped = dict.fromkeys(ids)
        if not dropped:
            return
        if self._trust.may_write:
            await self._drops.join(dropped)
        else:
            self._trust.owe(dropped)

    async def check(self) -> None:
        """Return if Redis answers. Raises what it or the way there raises, or TimeoutError."""
        async with asyncio.timeout(REPAIR_TIMEOUT_SECONDS):
            await self._ping()

    async def keep_repairing(self) -> None:
        """Bring Redis up to date whenever it was away or is owed something. Never returns."""
        while True:
            await self._trust.has_work.wait()
            if not await self.repair():
                await asyncio.sleep(REPAIR_EVERY_SECONDS)

    async def repair(self) -> bool:
        """Try to tell Redis what it is owed; whether it took it."""
        if self._trust.wants_renewal:
            work = self._renew()
        elif owed := self._trust.owed:
            work = self._pay(dict(list(owed.items())[:_PAID_AT_ONCE]))
        else:
            work = self._ping()
        return bool(await self._attempt(work, timeout_seconds=REPAIR_TIMEOUT_SECONDS))

    async def settle(self) -> None:
        """End what is under way, and try once more to tell Redis what it is owed."""
        for calls in (self._gets, self._fills, self._drops):
            await calls.finish()
        if self._trust.has_work.is_set():
            await self.repair()

    async def _get_together(self, ids: Mapping[MediaId, None]) -> Found:
        if not self._trust.may_read:
            return {}
        return await self._attempt(self._read(list(ids))) or {}

    async def _fill_together(self, found: Mapping[MediaId, tuple[Media | None, float]]) -> Found:
        # Asked again, because meanwhile another generation may have begun.
        fresh = {
            media_id: media
            for media_id, (media, begun) in found.items()
            if self._may_fill(begun) and not self._trust.owes(media_id)
        }
        if fresh and not await self._attempt(self._write(fresh)):
            self._trust.owe(fresh)
        return {}

    async def _drop_together(self, ids: Mapping[MediaId, None]) -> Found:
        bury = self._bury(list(ids), seconds=TOMBSTONE_SECONDS)
        if not await self._attempt(bury):
            self._trust.owe(ids)
        return {}

    async def _read(self, ids: Sequence[MediaId]) -> Found:
        generation = self._generation
        keys = [_key(generation, media_id) for media_id in ids]
        current, *values = await self._redis.mget([GENERATION_KEY, *keys])
        if not self._is_current(generation, current):
            return {}
        found: Found = {}
        for media_id, value in zip(ids, values, strict=True):
            # Asked only now, for what was dropped while we waited for the answer.
            if not isinstance(value, bytes) or value == TOMBSTONE or self._trust.owes(media_id):
                continue
            try:
                found[media_id] = decoded(value, media_id)
            except Unreadable:
                self._errors.inc()
                self._trust.owe([media_id])
        return found

    async def _write(self, found: Mapping[MediaId, Media | None]) -> bool:
        pipeline = self._redis.pipeline(transaction=False)
        for media_id, media in found.items():
            seconds = MISSING_SECONDS if media is None else FOUND_SECONDS
            pipeline.set(_key(self._generation, media_id), encoded(media), nx=True, ex=seconds)
        self._count_refused(await pipeline.execute(raise_on_error=False))
        return True

    async def _bury(self, ids: Sequence[MediaId], *, seconds: int) -> bool:
        """Replace the ids by tombstones, in the generation that others read; whether all are."""
        for _ in range(_ATTEMPTS):
            generation = self._generation
            keys = [_key(generation, media_id) for media_id in ids]
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.get(GENERATION_KEY)
            # Deleted first, because a Redis that is full takes no tombstone but deletes.
            pipeline.delete(*keys)
            for key in keys:
                pipeline.set(key, TOMBSTONE, ex=seconds)
            current, *results = await pipeline.execute(raise_on_error=False)
            if self._is_current(generation, current):
                return not self._count_refused(results)
            if self._trust.wants_renewal:
                break
        return False

    async def _pay(self, owed: Mapping[MediaId, int]) -> bool:
        is_done = await self._bury(list(owed), seconds=LATE_TOMBSTONE_SECONDS)
        if is_done:
            self._trust.paid(owed)
        return is_done

    async def _renew(self) -> bool:
        renewal = self._trust.renewal
        # So that there is a connection, and with it the id of the server we are talking to.
        await self._redis.ping()
        generation = f"{self._server.run_id}-{secrets.token_hex(8)}".encode()
        await self._redis.set(GENERATION_KEY, generation)
        self._learn(generation)
        self._trust.renewed(renewal)
        return True

    async def _ping(self) -> bool:
        await self._redis.ping()
        return True

    def _may_fill(self, begun: float) -> bool:
        oldest = max(self._generation_since, self._clock() - FILL_WITHIN_SECONDS)
        return self._trust.may_write and self._generation != b"" and begun >= oldest

    def _is_current(self, used: bytes, current: object) -> bool:
        """Whether the generation whose keys were used is the one that Redis has."""
        if not isinstance(current, bytes) or not current.startswith(self._server.run_id.encode()):
            self._trust.ask_renewal()
            return False
        if current != self._generation:
            self._learn(current)
        return current == used

    def _learn(self, generation: bytes) -> None:
        self._generation, self._generation_since = generation, self._clock()

    def _count_refused(self, results: Sequence[object]) -> int:
        refusals = [result for result in results if isinstance(result, Exception)]
        self._errors.inc(len(refusals))
        if any(not isinstance(refusal, OutOfMemoryError) for refusal in refusals):
            # It takes no writes, so nobody can tell it to forget: it must not be read either.
            self._trust.ask_renewal()
        return len(refusals)

    async def _attempt(
        self, work: Coroutine[Any, Any, T], *, timeout_seconds: float | None = None
    ) -> T | None:
        """What the work gives, or None if it failed."""
        patience = timeout_seconds or self._timeout_seconds
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(patience):
                result = await work
        except ResponseError as error:  # it answers, if only to refuse
            self._errors.inc()
            logger.debug("redis refused: %s", error)
            return None
        except Exception as error:
            self._errors.inc()
            if not isinstance(error, RedisError | OSError | TimeoutError):
                logger.exception("talking to redis failed in an unexpected way")
            # Much later than the timeout means that this process was held up, and not Redis.
            is_ours = asyncio.get_running_loop().time() - begun > 2 * patience
            if not is_ours and self._trust.failed():
                logger.warning("redis is away, doing without it: %r", error)
            return None
        if self._trust.answered():
            logger.info("redis is back")
        return result


@asynccontextmanager
async def open_redis_cache(
    url: str,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[RedisCache]:
    """A cache in the Redis at the URL, which need not be there. Raises ValueError if it is none.

    `timeout_seconds` is how long a call may take.
    """
    server = Server()
    redis = client(url, server)
    cache = RedisCache(redis, server=server, timeout_seconds=timeout_seconds, clock=clock)
    repairing = asyncio.create_task(cache.keep_repairing(), name="redis-cache-repair")
    try:
        yield cache
    finally:
        repairing.cancel()
        with suppress(asyncio.CancelledError):
            await repairing
        await cache.settle()
        with suppress(RedisError, OSError):
            await redis.aclose()


def _key(generation: bytes, media_id: MediaId) -> bytes:
    return b"mediad:media:%s:%s" % (generation, media_id.encode())
