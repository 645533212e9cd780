"""Who may call: services that know a token, or come with a certificate of ours."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping

from media_service.core.errors import Unauthenticated


class ServiceTokens:
    """Tokens of calling services by their names; with none, every caller is let in."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._digests = tuple(_digest(token) for token in tokens.values())

    @property
    def are_needed(self) -> bool:
        """Whether callers must show one."""
        return bool(self._digests)

    def check(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
        """Raise Unauthenticated unless the call's metadata show a token of ours."""
        sent = [value for name, value in metadata or () if name == "authorization"]
        scheme, _, token = str(sent[0]).partition(" ") if len(sent) == 1 else ("", "", "")
        digest = _digest(token)
        known = [hmac.compare_digest(each, digest) for each in self._digests]
        if scheme.lower() != "bearer" or not any(known):
            raise Unauthenticated


def _digest(token: str) -> bytes:
    """A fixed length, so that comparing tells nothing of the token's."""
    return hashlib.sha256(token.encode()).digest()
