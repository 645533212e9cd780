"""The keys that check tokens: secrets, public keys, key sets. All come from the configuration."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

SYMMETRIC = frozenset({"HS256", "HS384", "HS512"})
ASYMMETRIC = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
                        "ES256", "ES384", "ES512", "EdDSA"})  # fmt: skip
MIN_SECRET_BYTES = 32
MIN_RSA_BITS = 2048
MAX_KEYS = 50
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}

PublicKey = (
    rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey
)


class KeysRefused(Exception):
    """These keys can't be used."""


class KeySource(Protocol):
    """Where the keys of an issuer are."""

    async def find(self, name: str | None, *, algorithm: str) -> Sequence[object]:
        """The keys that may have signed under this name with this algorithm.

        Raises KeysUnavailable.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class OwnKey:
    """A secret of ours, and the `kid` that names it."""

    name: str
    secret: bytes = dataclasses.field(repr=False)


class OwnKeys:
    """Our own secrets: a token must name the one that signed it."""

    def __init__(self, keys: Sequence[OwnKey]) -> None:
        self._secrets = {key.name: key.secret for key in keys}

    async def find(self, name: str | None, *, algorithm: str) -> Sequence[object]:
        """The secret of this name."""
        secret = self._secrets.get(name or "") if algorithm in SYMMETRIC else None
        return [secret] if secret else []


class SharedSecret:
    """A secret that an outside issuer shares with us. Raises KeysRefused if it is too short."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise KeysRefused(f"a shared secret needs {MIN_SECRET_BYTES} bytes or more")
        self._secret = secret

    async def find(self, name: str | None, *, algorithm: str) -> Sequence[object]:  # noqa: ARG002
        """The secret, for the algorithms that take one."""
        return [self._secret] if algorithm in SYMMETRIC else []


class OnePublicKey:
    """One public key, from a PEM file. Raises KeysRefused."""

    def __init__(self, pem: bytes) -> None:
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            raise KeysRefused("this is not a PEM file with a public key") from None
        self._key = _strong(key)

    async def find(self, name: str | None, *, algorithm: str) -> Sequence[object]:  # noqa: ARG002
        """The key, for the algorithms of its kind."""
        return [self._key] if fits(self._key, algorithm) else []


@dataclasses.dataclass(frozen=True, slots=True)
class NamedKey:
    """One key of a set."""

    name: str | None
    algorithm: str | None
    key: PublicKey


class KeySet:
    """A JSON Web Key Set of public keys."""

    def __init__(self, keys: Sequence[NamedKey]) -> None:
        self._keys = keys

    async def find(self, name: str | None, *, algorithm: str) -> Sequence[object]:
        """The keys of this name; all that fit if the token names none."""
        return self.pick(name, algorithm=algorithm)

    def pick(self, name: str | None, *, algorithm: str) -> Sequence[PublicKey]:
        """The same at once."""
        return [
            each.key
            for each in self._keys
            if (name is None or each.name == name)
            and each.algorithm in (None, algorithm)
            and fits(each.key, algorithm)
        ]


def read_key_set(text: bytes) -> KeySet:
    """The public keys for signatures in this JWKS; what else is in it is left out.

    Raises KeysRefused if there is none.
    """
    try:
        entries = json.loads(text)["keys"][:MAX_KEYS]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeysRefused("this is not a JSON Web Key Set") from None
    keys = [key for entry in entries if (key := _named_key(entry))]
    if not keys:
        raise KeysRefused("this key set has no public key for signatures")
    return KeySet(keys)


def _named_key(entry: Mapping[str, Any]) -> NamedKey | None:
    """One entry, unless it is secret, for encryption, weak or unknown."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    if entry.get("kty") not in ("RSA", "EC", "OKP") or "d" in entry:
        return None
    try:
        key = _strong(jwt.PyJWK(dict(entry)).key)
    except (jwt.PyJWTError, KeysRefused, ValueError, TypeError, KeyError):
        return None
    name, algorithm = entry.get("kid"), entry.get("alg")
    return NamedKey(
        name if isinstance(name, str) else None,
        algorithm if isinstance(algorithm, str) else None,
        key,
    )


def _strong(key: object) -> PublicKey:
    if not isinstance(key, PublicKey):
        raise KeysRefused("this is no RSA, EC or EdDSA public key")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise KeysRefused(f"an RSA key needs {MIN_RSA_BITS} bits or more")
    return key


def fits(key: PublicKey, algorithm: str) -> bool:
    """Whether this key is of the kind that this algorithm takes."""
    if isinstance(key, rsa.RSAPublicKey):
        return algorithm[:2] in ("RS", "PS")
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(algorithm) == key.curve.name
    return algorithm == "EdDSA"
