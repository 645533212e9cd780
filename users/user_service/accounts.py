"""Accounts and sessions: who may come in, and how long they stay.

A login opens a session. Its refresh tokens form a chain, each good for one use: whoever presents
one that was used before ends the session, because then two parties hold it and one of them stole
it. Access tokens name their session and die with it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

from user_service import passwords as password_rules
from user_service.errors import InvalidCredentials, InvalidUsername
from user_service.passwords import Passwords
from user_service.ports import AccountRows, SessionRows
from user_service.records import Account, Session, UserId
from user_service.throttling import Throttling
from user_service.tokens import AccessTokens
from user_service.usernames import normalised

_REFRESH_BYTES = 32
UNUSED_SESSION = timedelta(days=30)
"""How long a refresh token waits for its use."""
WHOLE_SESSION = timedelta(days=180)
"""How long a session lasts with all its refreshes."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What somebody who came in is given."""

    user_id: UserId
    access_token: str
    refresh_token: str
    expires_in: int


class Accounts:
    """Registers, logs in, refreshes and logs out."""

    def __init__(
        self,
        *,
        accounts: AccountRows,
        sessions: SessionRows,
        passwords: Passwords,
        throttling: Throttling,
        tokens: AccessTokens,
        clock: Callable[[], datetime],
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._passwords = passwords
        self._throttling = throttling
        self._tokens = tokens
        self._clock = clock

    async def register(self, username: str, password: str, *, address: str) -> Admission:
        """Make an account and log in to it.

        Raises InvalidUsername, InvalidPassword, PasswordTooCommon, UsernameTaken,
        TooManyRegistrations, Busy, DatabaseUnavailable.
        """
        name = normalised(username)
        password_rules.check(password, username=name)
        await self._throttling.before_registration(address)
        account = Account(
            user_id=UserId(str(uuid.uuid4())),
            username=name,
            password_hash=await self._passwords.hash(password),
        )
        await self._accounts.add(account, at=self._clock())
        return await self._admit(account.user_id)

    async def log_in(self, username: str, password: str, *, address: str) -> Admission:
        """Open a session. An unknown name and a wrong password can't be told apart.

        Raises InvalidCredentials, TooManyAttempts, Busy, DatabaseUnavailable.
        """
        name = _name_or_nobody(username)
        attempt = await self._throttling.before_login(username=name, address=address)
        account = await self._accounts.find(name)
        kept = account.password_hash if account and not account.is_disabled else None
        if not await self._passwords.verify(password, kept) or account is None:
            raise InvalidCredentials
        await attempt.succeeded()
        if self._passwords.is_outdated(account.password_hash):
            await self._accounts.rehash(account, await self._passwords.hash(password))
        return await self._admit(account.user_id)

    async def refresh(self, refresh_token: str) -> Admission:
        """Exchange a refresh token for new tokens; it is good for this once.

        Raises InvalidRefreshToken, and ends the session if the token was used before;
        DatabaseUnavailable.
        """
        now = self._clock()
        token = _new_refresh_token()
        session = await self._sessions.rotate(
            _digest(refresh_token), _digest(token), at=now, until=now + UNUSED_SESSION
        )
        return self._admission(session, token)

    async def log_out(self, refresh_token: str) -> None:
        """End the session that this token is of, if it is of one. Raises DatabaseUnavailable."""
        await self._sessions.end(_digest(refresh_token), at=self._clock())

    async def _admit(self, user_id: UserId) -> Admission:
        now = self._clock()
        session = Session(
            session_id=str(uuid.uuid4()), user_id=user_id, ends_at=now + WHOLE_SESSION
        )
        token = _new_refresh_token()
        await self._sessions.open(session, _digest(token), at=now, until=now + UNUSED_SESSION)
        return self._admission(session, token)

    def _admission(self, session: Session, refresh_token: str) -> Admission:
        issued = self._tokens.issue(session.user_id, session_id=session.session_id)
        return Admission(
            user_id=session.user_id,
            access_token=issued.token,
            refresh_token=refresh_token,
            expires_in=issued.expires_in,
        )


def _name_or_nobody(username: str) -> str:
    """What can't be anyone's name is treated as a name that nobody has."""
    try:
        return normalised(username)
    except InvalidUsername:
        return ""


def _new_refresh_token() -> str:
    return secrets.token_urlsafe(_REFRESH_BYTES)


def _digest(refresh_token: str) -> bytes:
    """What is kept of a token. It is random, so a plain hash can't be guessed back."""
    return hashlib.sha256(refresh_token.encode("utf-8", "surrogatepass")).digest()
