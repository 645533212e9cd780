"""Who is asking: a token that is good, of somebody who may still come in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from user_service.errors import Unauthenticated
from user_service.ports import SessionRows
from user_service.records import UserId
from user_service.tokens import TokenVerifier


class Identifying:
    """Tells whose request it is."""

    def __init__(
        self, *, verifier: TokenVerifier, sessions: SessionRows, clock: Callable[[], datetime]
    ) -> None:
        self._verifier = verifier
        self._sessions = sessions
        self._clock = clock

    async def identify(self, token: str) -> UserId:
        """The user this token speaks for. Raises Unauthenticated, KeysUnavailable.

        Our own tokens are good as long as their session; those from outside never speak for
        somebody who has registered here. Raises DatabaseUnavailable rather than not look.
        """
        verified = await self._verifier.verify(token)
        if verified.session_id is None:
            is_good = not await self._sessions.is_account(verified.user_id)
        else:
            is_good = await self._sessions.is_live(
                verified.session_id, user_id=verified.user_id, at=self._clock()
            )
        if not is_good:
            raise Unauthenticated
        return verified.user_id
