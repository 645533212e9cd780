"""Access tokens: ours, and those of an outside issuer.

What a token says of how to check it is not believed. The claim `iss` picks one of the issuers of
the configuration; that issuer's algorithms and keys decide, and a `kid` only chooses among those
keys. Headers that bring a key, name where one lies, or demand an extension are refused. Encodings
that are not the one canonical form are refused too, so that a token can't be changed in any
character and stay good.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import jwt

from user_service.errors import Unauthenticated
from user_service.keys import KeySource, OwnKey
from user_service.records import UserId

MAX_TOKEN_CHARACTERS = 8192
LEEWAY_SECONDS = 10
OWN_TYPE = "at+jwt"
_OWN_ALGORITHM = "HS256"
_REFUSED_HEADERS = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip"})
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_SUBJECT = re.compile(r"[\x21-\x7e]{1,128}")
_TIMES = ("exp", "iat", "nbf")
_LATEST = 10**11  # seconds: in some three thousand years


@dataclasses.dataclass(frozen=True, slots=True)
class Issued:
    """A token and how many seconds it lasts."""

    token: str
    expires_in: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Whom a token speaks for; `session_id` is set for the tokens we issued."""

    user_id: UserId
    session_id: str | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Somebody whose tokens are good here, and how to check them."""

    name: str
    audience: str
    algorithms: Sequence[str]
    keys: KeySource
    required: Sequence[str] = ("exp", "iat", "sub", "aud", "iss")
    type: str | None = None


class AccessTokens:
    """Issues our own tokens. The first key signs."""

    def __init__(
        self,
        keys: Sequence[OwnKey],
        *,
        issuer: str,
        audience: str,
        lifetime: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._key = keys[0]
        self._issuer = issuer
        self._audience = audience
        self._lifetime = lifetime
        self._clock = clock

    def issue(self, user_id: UserId, *, session_id: str) -> Issued:
        """A token for this user in this session."""
        now = int(self._clock().timestamp())
        seconds = int(self._lifetime.total_seconds())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": user_id,
            "sid": session_id,
            "jti": uuid.uuid4().hex,
            "iat": now,
            "exp": now + seconds,
        }
        headers = {"kid": self._key.name, "typ": OWN_TYPE}
        token = jwt.encode(claims, self._key.secret, algorithm=_OWN_ALGORITHM, headers=headers)
        return Issued(token, seconds)


def own_issuer(name: str, *, audience: str, keys: KeySource) -> Issuer:
    """How our own tokens are checked."""
    return Issuer(
        name=name,
        audience=audience,
        algorithms=(_OWN_ALGORITHM,),
        keys=keys,
        required=("exp", "iat", "sub", "aud", "iss", "jti", "sid"),
        type=OWN_TYPE,
    )


class TokenVerifier:
    """Tells whom a token speaks for."""

    def __init__(self, own: Issuer, outside: Issuer | None = None) -> None:
        self._own = own
        self._issuers = {issuer.name: issuer for issuer in (outside, own) if issuer}

    async def verify(self, token: str) -> Verified:
        """Raises Unauthenticated, always with the same words; KeysUnavailable."""
        header, claims = _read(token)
        issuer = self._issuers.get(str(claims.get("iss")))
        if issuer is None:
            raise Unauthenticated
        algorithm = _algorithm(header, issuer)
        key_name = header.get("kid")
        for key in await issuer.keys.find(key_name, algorithm=algorithm):
            if (verified := _claims(token, key, issuer)) is not None:
                is_own = issuer is self._own
                return Verified(
                    user_id=UserId(verified["sub"]),
                    session_id=verified["sid"] if is_own else None,
                )
        raise Unauthenticated


def _read(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The header and the claims, not to be believed yet."""
    if len(token) > MAX_TOKEN_CHARACTERS or not _FORM.fullmatch(token):
        raise Unauthenticated
    header, payload, signature = token.split(".")
    _decoded(signature)
    return _object(_decoded(header)), _object(_decoded(payload))


def _decoded(segment: str) -> bytes:
    """What a segment stands for, if this is its one canonical form."""
    try:
        decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except (binascii.Error, ValueError):
        raise Unauthenticated from None
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != segment.encode():
        raise Unauthenticated
    return decoded


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Unauthenticated from None
    if not isinstance(value, dict):
        raise Unauthenticated
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One of two equal names would be believed by us, and the other by somebody else."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError
    return value


def _no_constant(_name: str) -> None:
    raise ValueError


def _algorithm(header: Mapping[str, Any], issuer: Issuer) -> str:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        raise Unauthenticated
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise Unauthenticated
    if not isinstance(header.get("kid", ""), str):
        raise Unauthenticated
    if issuer.type is not None and header.get("typ") != issuer.type:
        raise Unauthenticated
    return algorithm


def _claims(token: str, key: object, issuer: Issuer) -> Mapping[str, Any] | None:
    """The claims, if this key signed them and they hold now."""
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,  # type: ignore[arg-type]
            algorithms=list(issuer.algorithms),
            audience=issuer.audience,
            issuer=issuer.name,
            leeway=LEEWAY_SECONDS,
            options={"require": list(issuer.required)},
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        return None
    return claims if _is_sound(claims, issuer) else None


def _is_sound(claims: Mapping[str, Any], issuer: Issuer) -> bool:
    """Whether every claim is of its type; libraries take `"1"` and `true` for numbers."""
    times = [claims[name] for name in _TIMES if name in claims]
    texts = [claims[name] for name in issuer.required if name in ("sub", "sid", "jti")]
    return (
        all(type(time) in (int, float) and 0 <= time < _LATEST for time in times)
        and all(isinstance(text, str) for text in texts)
        and _SUBJECT.fullmatch(claims["sub"]) is not None
    )
