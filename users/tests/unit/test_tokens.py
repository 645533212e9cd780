"""Tokens that must not be good, and those that are (rows J of the hostile inputs)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from user_service.errors import Unauthenticated
from user_service.keys import OnePublicKey, OwnKey, OwnKeys, SharedSecret, read_key_set
from user_service.records import UserId
from user_service.tokens import (
    MAX_TOKEN_CHARACTERS,
    AccessTokens,
    Issuer,
    TokenVerifier,
    own_issuer,
)

SECRET = b"k" * 64
OTHER = b"o" * 64
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
OWN_KEYS = (OwnKey("k1", SECRET), OwnKey("k0", OTHER))


def now() -> datetime:
    return datetime.now(UTC)


def own_only() -> TokenVerifier:
    return TokenVerifier(own_issuer("userd", audience="userd", keys=OwnKeys(OWN_KEYS)))


def with_outside(**fields: Any) -> TokenVerifier:
    given: dict[str, Any] = {
        "name": "https://login.example",
        "audience": "photos",
        "algorithms": ("RS256",),
        "keys": OnePublicKey(PEM),
    }
    own = own_issuer("userd", audience="userd", keys=OwnKeys(OWN_KEYS))
    return TokenVerifier(own, Issuer(**(given | fields)))


def own_claims(**changes: Any) -> dict[str, Any]:
    claims = {
        "iss": "userd",
        "aud": "userd",
        "sub": "ada-1",
        "sid": "session",
        "jti": "1",
        "iat": int(time.time()),
        "exp": int(time.time()) + 600,
    }
    return {name: value for name, value in (claims | changes).items() if value is not ...}


def outside_claims(**changes: Any) -> dict[str, Any]:
    claims = {
        "iss": "https://login.example",
        "aud": "photos",
        "sub": "auth0|ada",
        "iat": int(time.time()),
        "exp": int(time.time()) + 600,
    }
    return {name: value for name, value in (claims | changes).items() if value is not ...}


def b64(data: bytes | Mapping[str, Any]) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(
    header: Mapping[str, Any] | bytes, payload: Mapping[str, Any] | bytes, *, key: bytes = SECRET
) -> str:
    """Signed by hand, so that nothing about it has to make sense."""
    text = f"{b64(header)}.{b64(payload)}"
    return f"{text}.{b64(hmac.new(key, text.encode(), hashlib.sha256).digest())}"


HEADER = {"alg": "HS256", "kid": "k1", "typ": "at+jwt"}


def good() -> str:
    return signed(HEADER, own_claims())


async def refused(token: str, verifier: TokenVerifier | None = None) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await (verifier or own_only()).verify(token)
    assert str(caught.value) == "Send a valid access token."
    assert caught.value.code == "unauthenticated"


async def test_what_we_issue_is_good_until_it_expires() -> None:
    tokens = AccessTokens(
        OWN_KEYS, issuer="userd", audience="userd", lifetime=timedelta(minutes=15), clock=now
    )
    issued = tokens.issue(UserId("ada-1"), session_id="s1")
    verified = await own_only().verify(issued.token)
    assert (verified.user_id, verified.session_id) == ("ada-1", "s1")
    assert issued.expires_in == 900


async def test_a_key_that_no_longer_signs_still_checks() -> None:
    token = signed(HEADER | {"kid": "k0"}, own_claims(), key=OTHER)
    assert (await own_only().verify(token)).user_id == "ada-1"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, 0, ["HS256"]])
@pytest.mark.parametrize("signature", ["", "x", None])
async def test_unsigned_tokens_are_refused(alg: object, signature: str | None) -> None:
    token = signed(HEADER | {"alg": alg}, own_claims())
    if signature is not None:
        token = token.rpartition(".")[0] + "." + signature
    await refused(token)
    await refused(token, with_outside())


@pytest.mark.parametrize("alg", ["HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA", "hs256"])
async def test_only_the_configured_algorithm_is_looked_at(alg: str) -> None:
    await refused(signed(HEADER | {"alg": alg}, own_claims()))


@pytest.mark.parametrize("key", [PEM, PEM.strip(), PEM.replace(b"\n", b"\r\n")])
@pytest.mark.parametrize("alg", ["HS256", "RS256"])
async def test_a_public_key_is_no_secret(key: bytes, alg: str) -> None:
    token = signed({"alg": alg}, outside_claims(), key=key)
    await refused(token, with_outside())
    await refused(token, with_outside(algorithms=("RS256", "HS256")))


CHANGES: Mapping[str, Any] = {
    "expired": {"exp": int(time.time()) - 60},
    "no exp": {"exp": ...},
    "exp null": {"exp": None},
    "exp text": {"exp": str(int(time.time()) + 600)},
    "exp true": {"exp": True},
    "exp list": {"exp": [1]},
    "exp negative": {"exp": -1},
    "nbf ahead": {"nbf": int(time.time()) + 86_400},
    "nbf text": {"nbf": "0"},
    "iat ahead": {"iat": int(time.time()) + 86_400},
    "no iat": {"iat": ...},
    "iat text": {"iat": "now"},
    "no sub": {"sub": ...},
    "sub empty": {"sub": ""},
    "sub number": {"sub": 7},
    "sub with space": {"sub": "ada 1"},
    "sub with NUL": {"sub": "ada\0"},
    "sub too long": {"sub": "a" * 129},
    "aud other": {"aud": "elsewhere"},
    "aud list of others": {"aud": ["a", "b"]},
    "no aud": {"aud": ...},
    "iss other": {"iss": "https://evil.example"},
    "iss list": {"iss": ["userd"]},
    "no iss": {"iss": ...},
    "no jti": {"jti": ...},
    "jti number": {"jti": 1},
    "no sid": {"sid": ...},
    "sid null": {"sid": None},
    "sid list": {"sid": ["s"]},
}


@pytest.mark.parametrize("name", CHANGES)
async def test_claims_that_do_not_hold_are_refused(name: str) -> None:
    await refused(signed(HEADER, own_claims(**CHANGES[name])))


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 400])
async def test_numbers_that_are_no_times_are_refused(number: bytes) -> None:
    payload = json.dumps(own_claims(exp=1)).encode().replace(b'"exp": 1', b'"exp": ' + number)
    await refused(signed(HEADER, payload))


HEADERS: Mapping[str, Any] = {
    "jku": {"jku": "http://127.0.0.1:9/jwks"},
    "x5u": {"x5u": "http://127.0.0.1:9/cert"},
    "x5c": {"x5c": ["MIIB"]},
    "jwk": {"jwk": {"kty": "oct", "k": b64(SECRET)}},
    "crit": {"crit": ["exp"]},
    "crit empty": {"crit": []},
    "b64": {"b64": False, "crit": ["b64"]},
    "zip": {"zip": "DEF"},
    "kid path": {"kid": "../../../../dev/null"},
    "kid sql": {"kid": "x' union select 'k"},
    "kid url": {"kid": "http://127.0.0.1:9/k"},
    "kid NUL": {"kid": "k1\0"},
    "kid empty": {"kid": ""},
    "kid number": {"kid": 1},
    "kid null": {"kid": None},
    "typ": {"typ": "JWT"},
    "typ refresh": {"typ": "rt+jwt"},
    "cty": {"typ": None, "cty": "at+jwt"},
}


@pytest.mark.parametrize("name", HEADERS)
async def test_headers_do_not_say_how_to_check(name: str) -> None:
    await refused(signed(HEADER | HEADERS[name], own_claims()))


async def test_a_key_brought_along_is_not_used() -> None:
    mine = rsa.generate_private_key(65537, 2048)
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(mine.public_key()))
    for headers in ({"jwk": jwk}, {"jku": "http://127.0.0.1:9"}, {"kid": "mine", "jwk": jwk}):
        token = jwt.encode(outside_claims(), mine, algorithm="RS256", headers=headers)
        await refused(token, with_outside())


async def test_any_other_character_anywhere_makes_it_bad() -> None:
    token = good()
    for at, character in enumerate(token):
        for other in {"A" if character != "A" else "B", "_", "!", "=", ".", " ", "é"} - {character}:
            await refused(token[:at] + other + token[at + 1 :])


async def test_any_character_more_or_less_makes_it_bad() -> None:
    token = good()
    for at in range(0, len(token), 3):
        await refused(token[:at] + token[at + 1 :])
        await refused(token[:at] + "A" + token[at:])
    for extra in ("=", "==", "\n", " ", ".", "\0", "A"):
        await refused(token + extra)
        await refused(extra + token)


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "a.b.c.d.e",
        "null.null.null",
        "é.é.é",
        signed(b"[]", b"{}"),
        signed(b'"alg"', b"{}"),
        signed(b"{", b"{}"),
        signed(b"\xff", b"{}"),
        signed(HEADER, b"[]"),
        signed(HEADER, b"null"),
        signed(HEADER, b'"userd"'),
        signed(HEADER, b"\xef\xbb\xbf{}"),
        signed(HEADER, b"[" * 3000),
        signed(HEADER, b'{"iss":' * 500),
        "A" * (MAX_TOKEN_CHARACTERS + 1),
        "A" * 1_000_000,
        signed(HEADER, {"pad": "x" * 1_000_000}),
    ],
    ids=range(23),
)
async def test_what_is_no_token_is_refused(token: str) -> None:
    await refused(token)


async def test_names_that_come_twice_are_refused() -> None:
    header = b'{"alg":"none","alg":"HS256","kid":"k1","typ":"at+jwt"}'
    await refused(signed(header, own_claims()))
    payload = json.dumps(own_claims()).encode()
    await refused(signed(HEADER, payload[:-1] + b',"sub":"bob"}'))


async def test_a_token_of_one_issuer_is_none_of_the_other() -> None:
    for claims in (own_claims(iss="https://login.example"), own_claims(aud="photos")):
        await refused(signed(HEADER, claims), with_outside())
    as_ours = jwt.encode(own_claims(), RSA, algorithm="RS256", headers=HEADER | {"alg": "RS256"})
    await refused(as_ours, with_outside())


class TestOutsideIssuers:
    async def test_a_public_key_checks_its_tokens(self) -> None:
        verified = await with_outside().verify(
            jwt.encode(outside_claims(), RSA, algorithm="RS256", headers={"kid": "any"})
        )
        assert (verified.user_id, verified.session_id) == ("auth0|ada", None)

    async def test_a_session_of_an_outside_token_means_nothing(self) -> None:
        token = jwt.encode(outside_claims(sid="s1"), RSA, algorithm="RS256")
        assert (await with_outside().verify(token)).session_id is None

    async def test_a_shared_secret_checks_its_tokens(self) -> None:
        verifier = with_outside(algorithms=("HS512",), keys=SharedSecret(OTHER))
        token = jwt.encode(outside_claims(), OTHER, algorithm="HS512")
        assert (await verifier.verify(token)).user_id == "auth0|ada"
        await refused(jwt.encode(outside_claims(), OTHER, algorithm="HS256"), verifier)

    @pytest.mark.parametrize(
        ("algorithm", "key"), [("RS256", RSA), ("PS384", RSA), ("ES256", EC), ("EdDSA", ED)]
    )
    async def test_a_key_set_checks_each_kind(self, algorithm: str, key: Any) -> None:
        keys = read_key_set(key_set())
        verifier = with_outside(algorithms=(algorithm,), keys=keys)
        for headers in ({}, {"kid": type(key).__name__}):
            token = jwt.encode(outside_claims(), key, algorithm=algorithm, headers=headers)
            assert (await verifier.verify(token)).user_id == "auth0|ada"
        unknown = jwt.encode(outside_claims(), key, algorithm=algorithm, headers={"kid": "?"})
        await refused(unknown, verifier)

    async def test_a_name_chooses_only_among_keys_of_the_right_kind(self) -> None:
        verifier = with_outside(
            algorithms=("RS256", "ES256", "EdDSA"), keys=read_key_set(key_set())
        )
        token = jwt.encode(
            outside_claims(), EC, algorithm="ES256", headers={"kid": type(RSA).__name__}
        )
        await refused(token, verifier)

    @pytest.mark.parametrize("name", [n for n in CHANGES if "sid" not in n and "jti" not in n])
    async def test_claims_that_do_not_hold_are_refused(self, name: str) -> None:
        claims = outside_claims(**CHANGES[name])
        text = f"{b64({'alg': 'RS256'})}.{b64(claims)}"
        await refused(f"{text}.{b64(rsa_signature(text))}", with_outside())


def rsa_signature(text: str) -> bytes:
    return jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(text.encode(), RSA)


def key_set() -> bytes:
    algorithms = {
        RSA: jwt.algorithms.RSAAlgorithm,
        EC: jwt.algorithms.ECAlgorithm,
        ED: jwt.algorithms.OKPAlgorithm,
    }
    keys = [
        json.loads(algorithm.to_jwk(key.public_key())) | {"kid": type(key).__name__, "use": "sig"}  # type: ignore[attr-defined]
        for key, algorithm in algorithms.items()
    ]
    secret = {"kty": "oct", "kid": "secret", "k": b64(SECRET)}
    private = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA)) | {"kid": "private"}
    return json.dumps({"keys": [*keys, secret, private, "nonsense", {}]}).encode()


class TestPublishedVectors:
    """The examples of RFC 7515 and RFC 8037: well signed, but not for here."""

    SECRET_A1 = base64.urlsafe_b64decode(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow=="
    )
    A1 = (
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0"
        "cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    A5 = (
        "eyJhbGciOiJub25lIn0."
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0"
        "cnVlfQ."
    )
    A4 = (
        "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA."
        "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7Xdt"
        "AG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"
    )
    EDDSA = (
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )

    @pytest.mark.parametrize("token", [A1, A4, A5, EDDSA])
    async def test_none_is_good_here(self, token: str) -> None:
        await refused(token)
        await refused(token, with_outside())

    async def test_a_good_signature_alone_does_not_help(self) -> None:
        keys = SharedSecret(self.SECRET_A1)
        verifier = with_outside(name="joe", algorithms=("HS256",), keys=keys)
        await refused(self.A1, verifier)
        assert jwt.api_jws.PyJWS().decode(self.A1, self.SECRET_A1, algorithms=["HS256"])
