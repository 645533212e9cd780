"""Settings: read once, from the environment and an optional TOML file, and checked at start.

Every setting is the environment variable `USERD_<NAME>`, or `<name>` in the file that
`USERD_CONFIG` names; the environment wins. Nothing is secret by default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from user_service.keys import ASYMMETRIC, SYMMETRIC

Port = Annotated[int, Field(ge=0, le=65535)]
_SECRET = re.compile(r"[\x21-\x7e]{32,512}")


class SettingsRefused(Exception):
    """The settings can't be used."""


class Settings(BaseSettings):
    """Everything an operator can say."""

    model_config = SettingsConfigDict(env_prefix="USERD_", extra="forbid", frozen=True)

    data_dir: Path = Field(Path("userd-data"), description="Where everything is kept")
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: Port = Field(8080, description="HTTP port")
    database_url: str = Field("", description="postgresql://… (default: an embedded one)")
    max_connections: PositiveInt = Field(10, description="Database connections at most")
    media_address: str = Field(
        "localhost:50051", min_length=1, description="gRPC address of the media service"
    )
    media_token: str = Field("", repr=False, description="Our service token there, if it asks")
    media_public_url: str = Field(
        "http://127.0.0.1:8083", description="What media URLs begin with: pages may load from it"
    )
    media_seconds: PositiveFloat = Field(10, description="How long a call to it may take")
    media_upload_seconds: PositiveFloat = Field(60, description="How long an upload to it may take")
    media_channels: PositiveInt = Field(2, description="Connections to it")
    media_tls_ca_file: Path | None = Field(None, description="PEM CA of the media service")
    media_tls_cert_file: Path | None = Field(None, description="PEM chain to show it (mTLS)")
    media_tls_key_file: Path | None = Field(None, description="PEM key of that chain")

    jwt_keys: str = Field(
        "", repr=False, description="id:secret,… the first signs, all are accepted"
    )
    jwt_issuer: str = Field("userd", min_length=1, description="`iss` of our tokens")
    jwt_audience: str = Field("userd", min_length=1, description="`aud` of our tokens")
    jwt_access_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        900, description="How long an access token lasts"
    )
    jwt_outside_issuer: str = Field("", description="`iss` of tokens from elsewhere")
    jwt_outside_audience: str = Field("", description="their `aud` (default: as ours)")
    jwt_outside_algorithms: str = Field("", description="what they may be signed with: RS256,…")
    jwt_outside_secret: str = Field("", repr=False, description="a secret shared with the issuer")
    jwt_outside_public_key_file: Path | None = Field(None, description="or its public key, PEM")
    jwt_outside_jwks_file: Path | None = Field(None, description="or its key set, JSON")
    jwt_outside_jwks_url: str = Field("", description="or where it publishes that")

    trusted_proxies: str = Field("", description="networks whose X-Forwarded-For is believed")
    password_threads: Annotated[int, Field(ge=1, le=64)] = Field(
        2, description="Passwords hashed at once (19 MiB each)"
    )
    logins_per_username: PositiveInt = Field(10, description="failed, in 15 minutes")
    logins_per_address: PositiveInt = Field(100, description="failed, in 15 minutes")
    registrations_per_address: PositiveInt = Field(100, description="in an hour")
    uploads_per_user: PositiveInt = Field(60, description="in a minute")
    attachments_per_user: PositiveInt = Field(120, description="in an hour")
    attachments_at_once: PositiveInt = Field(
        24, description="in this process: up to 512 MB of disk each"
    )
    uploads_at_once: PositiveInt = Field(256, description="in this process")
    abandoned_seconds: Annotated[float, Field(gt=0)] = Field(
        900, description="An upload nobody saw the end of is looked into after this long"
    )
    upload_idle_seconds: PositiveFloat = Field(30, description="no byte for so long ends it")
    upload_least_bytes_per_second: PositiveInt = Field(8192, description="on average")
    upload_wanted_bytes_per_second: PositiveInt = Field(
        131072, description="who is slower gives way when all places are taken"
    )
    log_format: Literal["auto", "json", "text"] = Field("auto", description="auto, json, text")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then the file."""
        file = os.environ.get("USERD_CONFIG")
        toml = (TomlConfigSettingsSource(settings_cls, Path(file)),) if file else ()
        return (init_settings, env_settings, *toml)

    @model_validator(mode="after")
    def _check(self) -> Settings:
        _ = self.keys, self.proxies
        _check_url(self.media_public_url)
        if bool(self.media_tls_cert_file) != bool(self.media_tls_key_file):
            raise ValueError("set both USERD_MEDIA_TLS_CERT_FILE and USERD_MEDIA_TLS_KEY_FILE")
        self._check_outside()
        return self

    def _check_outside(self) -> None:
        sources = self._outside_sources()
        if not self.jwt_outside_issuer:
            if sources or self.jwt_outside_algorithms:
                raise ValueError("USERD_JWT_OUTSIDE_… needs USERD_JWT_OUTSIDE_ISSUER")
            return
        if self.jwt_outside_issuer == self.jwt_issuer:
            raise ValueError("USERD_JWT_OUTSIDE_ISSUER must not be our own USERD_JWT_ISSUER")
        if len(sources) != 1:
            raise ValueError(
                "an outside issuer needs one of USERD_JWT_OUTSIDE_SECRET, _PUBLIC_KEY_FILE, "
                "_JWKS_FILE, _JWKS_URL"
            )
        fitting = SYMMETRIC if self.jwt_outside_secret else ASYMMETRIC
        if not self.outside_algorithms or not set(self.outside_algorithms) <= fitting:
            raise ValueError(
                f"USERD_JWT_OUTSIDE_ALGORITHMS takes, with these keys, {', '.join(sorted(fitting))}"
            )

    def _outside_sources(self) -> list[object]:
        return [
            source
            for source in (
                self.jwt_outside_secret,
                self.jwt_outside_public_key_file,
                self.jwt_outside_jwks_file,
                self.jwt_outside_jwks_url,
            )
            if source
        ]

    @property
    def outside_algorithms(self) -> Sequence[str]:
        """What an outside issuer may sign with."""
        return [a.strip() for a in self.jwt_outside_algorithms.split(",") if a.strip()]

    @property
    def keys(self) -> Mapping[str, str]:
        """Our secrets by their ids, the one that signs first; empty: made at first start."""
        return _named_secrets(self.jwt_keys, "USERD_JWT_KEYS")

    @property
    def proxies(self) -> Sequence[IPv4Network | IPv6Network]:
        """The networks of our own proxies."""
        try:
            return [ip_network(n.strip()) for n in self.trusted_proxies.split(",") if n.strip()]
        except ValueError as error:
            raise ValueError(f"USERD_TRUSTED_PROXIES: {error}") from None

    @property
    def base_url(self) -> str:
        """Where this service is reached from this machine."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[\w.\-:\[\]]+", parts.netloc):
        raise ValueError("USERD_MEDIA_PUBLIC_URL must be http://host:port or https://host")


def _named_secrets(text: str, setting: str) -> dict[str, str]:
    named: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, secret = part.partition(":")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name) or not _SECRET.fullmatch(secret):
            raise ValueError(f"{setting} is a list of id:secret, secrets of 32 characters or more")
        named[name] = secret
    return named


def read_settings(**overrides: Any) -> Settings:
    """The settings. Raises SettingsRefused with one line for each that can't be used."""
    given = {name: value for name, value in overrides.items() if value is not None}
    _check_environment()
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = [f"{_setting(e['loc'])}{_reason(e['msg'])}" for e in error.errors()]
        raise SettingsRefused("\n".join(lines)) from None
    except (OSError, ValueError) as error:
        raise SettingsRefused(f"USERD_CONFIG: {error}") from None


def _check_environment() -> None:
    """A misspelt setting must not pass for a default."""
    known = {f"USERD_{name.upper()}" for name in Settings.model_fields} | {"USERD_CONFIG"}
    unknown = sorted(n for n in os.environ if n.startswith("USERD_") and n not in known)
    if unknown:
        raise SettingsRefused(f"no such setting: {', '.join(unknown)}")
    file = os.environ.get("USERD_CONFIG")
    if file and not Path(file).is_file():
        raise SettingsRefused(f"USERD_CONFIG: there is no file {file}")


def _setting(location: tuple[int | str, ...]) -> str:
    return f"USERD_{str(location[0]).upper()}: " if location else ""


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ")
