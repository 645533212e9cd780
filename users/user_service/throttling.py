"""Who may try how often. The counts are in the database, so they hold across instances."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from ipaddress import IPv6Address, ip_address

from user_service.errors import Limited, TooManyAttempts, TooManyRegistrations, TooManyUploads
from user_service.ports import Allowance, ThrottleRows
from user_service.records import UserId


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Allowances:
    """How many of each. Attempts that succeed are given back."""

    logins_per_username: Allowance
    logins_per_address: Allowance
    registrations_per_address: Allowance
    uploads_per_user: Allowance
    attachments_per_user: Allowance


class Attempt:
    """A login that is being tried. It counts, unless it is said to have succeeded."""

    def __init__(self, rows: ThrottleRows, taken: tuple[tuple[bytes, Allowance], ...]) -> None:
        self._rows = rows
        self._taken = taken

    async def succeeded(self) -> None:
        """Give back what it took."""
        for key, allowance in self._taken:
            await self._rows.give_back(key, allowance)


class Throttling:
    """Counts before the work is done, so that many at once get no more than many in a row."""

    def __init__(self, rows: ThrottleRows, allowances: Allowances) -> None:
        self._rows = rows
        self._allowances = allowances

    async def before_login(self, *, username: str, address: str) -> Attempt:
        """Raises TooManyAttempts."""
        taken = (
            (_key("login address", _network(address)), self._allowances.logins_per_address),
            (_key("login username", username), self._allowances.logins_per_username),
        )
        for key, allowance in taken:
            await self._take(key, allowance, TooManyAttempts)
        return Attempt(self._rows, taken)

    async def before_registration(self, address: str) -> None:
        """Raises TooManyRegistrations."""
        key = _key("registration address", _network(address))
        await self._take(key, self._allowances.registrations_per_address, TooManyRegistrations)

    async def before_upload(self, user_id: UserId) -> None:
        """Raises TooManyUploads."""
        key = _key("upload user", user_id)
        await self._take(key, self._allowances.uploads_per_user, TooManyUploads)

    async def before_attachment(self, user_id: UserId) -> None:
        """Raises TooManyUploads."""
        await self.before_upload(user_id)
        key = _key("attachment user", user_id)
        await self._take(key, self._allowances.attachments_per_user, TooManyUploads)

    async def _take(self, key: bytes, allowance: Allowance, refused: type[Limited]) -> None:
        wait = await self._rows.take(key, allowance)
        if wait:
            raise refused(retry_after_seconds=max(1, math.ceil(wait.total_seconds())))


def _key(what: str, who: str) -> bytes:
    """What is kept of a name or an address: enough to count, not enough to read."""
    return hashlib.sha256(f"{what}\0{who}".encode("utf-8", "surrogatepass")).digest()


def _network(address: str) -> str:
    """Who has an IPv6 address usually has the 2^64 around it too."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(int(parsed) >> 64)
