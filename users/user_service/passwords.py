"""Passwords: which are taken, and Argon2id over them in a bounded pool of threads."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from user_service.common_passwords import is_common
from user_service.errors import Busy, InvalidPassword, PasswordTooCommon

MIN_CHARACTERS = 8
MAX_CHARACTERS = 128
_WAITING_AT_MOST = 128
_T = TypeVar("_T")


def normalised(password: str) -> str:
    """The same password however its keyboard composed the letters."""
    return unicodedata.normalize("NFKC", password)


def check(password: str, *, username: str) -> None:
    """Raises InvalidPassword, PasswordTooCommon."""
    characters = normalised(password)
    if not MIN_CHARACTERS <= len(characters) <= MAX_CHARACTERS or not _is_text(characters):
        raise InvalidPassword
    if is_common(characters, username=username):
        raise PasswordTooCommon


def _is_text(characters: str) -> bool:
    return not any(unicodedata.category(c) == "Cs" or c == "\0" for c in characters)


class Passwords:
    """Hashes and verifies. Each takes about as long as any other, known user or not."""

    def __init__(self, *, threads: int, hasher: PasswordHasher | None = None) -> None:
        # OWASP's first choice of parameters for Argon2id: 19 MiB, two passes, one lane.
        self._hasher = hasher or PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._waiting = 0
        self._nobodys = self._hasher.hash("a password that nobody has")

    async def hash(self, password: str) -> str:
        """The Argon2id hash to keep. Raises Busy."""
        return await self._run(lambda: self._hasher.hash(normalised(password)))

    async def verify(self, password: str, kept_hash: str | None) -> bool:
        """Whether it is the one that was kept. Without a kept one it takes as long. Raises Busy."""
        characters = normalised(password[:MAX_CHARACTERS])
        is_whole = len(password) <= MAX_CHARACTERS
        against = kept_hash or self._nobodys
        matches = await self._run(lambda: self._matches(against, characters))
        return matches and is_whole and kept_hash is not None

    def is_outdated(self, kept_hash: str) -> bool:
        """Whether it was made with parameters of another time."""
        return self._hasher.check_needs_rehash(kept_hash)

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _matches(self, kept_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept_hash, password)
        except (VerificationError, InvalidHashError, UnicodeError):
            return False

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._waiting >= _WAITING_AT_MOST:
            raise Busy
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1


@asynccontextmanager
async def open_passwords(*, threads: int) -> AsyncIterator[Passwords]:
    """Passwords with their own threads, as long as this lasts."""
    passwords = Passwords(threads=threads)
    try:
        yield passwords
    finally:
        passwords.close()
