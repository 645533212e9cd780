"""Settings: read once, from the environment and an optional TOML file, and checked at start.

Every setting is the environment variable `MEDIAD_<NAME>`, or `<name>` in the file that
`MEDIAD_CONFIG` names; the environment wins. Nothing is secret by default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import (
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from media_service.core.jobs import QueueLimits
from media_service.core.transformations import parse_sides
from media_service.core.webhooks import receiver_urls, secret_bytes
from media_service.storage_urls import S3Address, parse_storage_url

Port = Annotated[int, Field(ge=0, le=65535)]
ROLES = ("grpc", "http", "worker")
_SCHEMES = {
    "database_url": ("postgresql://", "postgres://"),
    "redis_url": ("redis://", "rediss://", "unix://"),
    "public_url": ("http://", "https://"),
}
_NOT_OURS = frozenset({"MEDIAD_CONFIG", "MEDIAD_TOKEN"})
"""Variables of the environment that begin like settings and are none."""
_SECRET = re.compile(r"[\x21-\x7e]{16,512}")


class SettingsRefused(Exception):
    """The settings can't be used."""


class Settings(BaseSettings):
    """Everything an operator can say."""

    model_config = SettingsConfigDict(env_prefix="MEDIAD_", extra="forbid", frozen=True)

    data_dir: Path = Field(Path("mediad-data"), description="Where everything is kept")
    host: str = Field("127.0.0.1", description="Address to listen on, for gRPC and HTTP")
    port: Port = Field(8083, description="HTTP port: delivery, health, metrics")
    grpc_port: Port = Field(50051, description="gRPC port")
    metrics_port: Port | None = Field(None, description="A port for /metrics alone")
    roles: str = Field("grpc,http,worker", description="What this process does")
    database_url: str = Field("", description="postgresql://… (default: an embedded one)")
    redis_url: str = Field("", description="redis://… (default: a cache in this process)")
    storage_url: str = Field(
        "", description="file:///… or s3://bucket/prefix (default: blobs/ in the data folder)"
    )
    storage_fallback_url: str = Field(
        "", description="The other store while bytes move: read when they are missing in the first"
    )
    delivery: Literal["proxy", "redirect"] = Field(
        "proxy", description="How readers get bytes from S3"
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(1, description="Serving processes")
    cells: Annotated[int, Field(ge=1, le=256)] = Field(
        default_factory=lambda said: max(1, _cores() // said.get("workers", 1)),
        description="Decoding processes of each serving process (default: cores / workers)",
    )
    max_connections: PositiveInt = Field(20, description="Database connections at most")
    public_url: str = Field("", description="What URLs in answers begin with (default: us)")
    signing_keys: str = Field("", description="id:secret,… the first signs, all are accepted")
    service_tokens: str = Field("", description="name:token,… that callers may present")
    tls_key_file: Path | None = Field(None, description="PEM key of the gRPC server")
    tls_cert_file: Path | None = Field(None, description="PEM chain of the gRPC server")
    tls_client_ca_file: Path | None = Field(None, description="PEM CA of callers (mTLS)")
    policies_file: Path | None = Field(None, description="TOML that overrides purposes")
    delete_grace_seconds: Annotated[int, Field(ge=0)] = Field(
        86_400, description="How long a content nobody holds is kept"
    )
    trash_days: Annotated[int, Field(ge=0, le=365)] = Field(
        7, description="How long what fsck moved to the trash can be put back"
    )
    tombstone_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        30, description="How long rows of deleted media are kept"
    )
    scrub_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        30, description="Within how many days all bytes are read again (0: never)"
    )
    unary_upload_megabytes: PositiveInt = Field(
        256, description="Unary uploads in flight at most, all together"
    )
    queue_limit: Annotated[int, Field(ge=10)] = Field(
        100_000, description="Jobs that may wait; a tenth of them of one owner"
    )
    connection_age_seconds: Annotated[int, Field(ge=0, le=86_400)] = Field(
        300, description="gRPC connections are asked to be made anew after so long (0: never)"
    )
    drain_seconds: Annotated[int, Field(ge=0, le=10)] = Field(
        0, description="How long to go on taking calls after SIGTERM, no longer ready"
    )
    ffmpeg: Path | None = Field(
        None, description="The ffmpeg to use, 6.1 or later (default: the one in the wheel)"
    )
    transcodes: Annotated[int, Field(ge=1, le=64)] = Field(
        default_factory=lambda said: max(1, _cores() // 2 // said.get("workers", 1)),
        description="Films made at once by each serving process (default: cores / 2 / workers)",
    )
    webhook_urls: str = Field("", description="http(s)://…,… that are told of what is done")
    webhook_secrets: str = Field("", description="id:secret,… that sign what they are told")
    transformation_sides: str = Field(
        "64,128,256,320,480,640,800,1080,1280,1920,2048",
        description="Pixels a side that transformations offer (any: all up to 4096)",
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
        file = os.environ.get("MEDIAD_CONFIG")
        toml = (TomlConfigSettingsSource(settings_cls, Path(file)),) if file else ()
        return (init_settings, env_settings, *toml)

    @model_validator(mode="after")
    def _check(self) -> Settings:
        unknown = set(self.role_names) - set(ROLES)
        if unknown or not self.role_names:
            raise ValueError(f"MEDIAD_ROLES takes {', '.join(ROLES)}")
        if bool(self.tls_key_file) != bool(self.tls_cert_file):
            raise ValueError("set both MEDIAD_TLS_KEY_FILE and MEDIAD_TLS_CERT_FILE, or neither")
        if self.tls_client_ca_file and not self.tls_key_file:
            raise ValueError(
                "MEDIAD_TLS_CLIENT_CA_FILE needs MEDIAD_TLS_KEY_FILE and MEDIAD_TLS_CERT_FILE"
            )
        _check_urls(self)
        _check_sides(self)
        _check_ports(self)
        if not _is_loopback(self.host) and not (self.tokens or self.tls_client_ca_file):
            raise ValueError(
                f"listening on {self.host} lets strangers call: set MEDIAD_SERVICE_TOKENS="
                "name:token (16 characters or more), or MEDIAD_TLS_KEY_FILE, "
                "MEDIAD_TLS_CERT_FILE and MEDIAD_TLS_CLIENT_CA_FILE, or MEDIAD_HOST=127.0.0.1"
            )
        _ = self.keys, self.tokens, self.webhook_keys
        if self.receivers and not self.webhook_keys:
            raise ValueError("MEDIAD_WEBHOOK_URLS needs MEDIAD_WEBHOOK_SECRETS=name:secret")
        return self

    @property
    def role_names(self) -> tuple[str, ...]:
        """What this process does, in words."""
        return tuple(name.strip() for name in self.roles.split(",") if name.strip())

    @property
    def tokens(self) -> Mapping[str, str]:
        """The service tokens by the names of their callers."""
        return _named_secrets(self.service_tokens, "MEDIAD_SERVICE_TOKENS")

    @property
    def keys(self) -> Mapping[str, str]:
        """The signing keys by their ids, the one that signs first; empty: made at first start."""
        return _named_secrets(self.signing_keys, "MEDIAD_SIGNING_KEYS")

    @property
    def receivers(self) -> tuple[str, ...]:
        """Who is told of what becomes of media."""
        try:
            return receiver_urls(self.webhook_urls)
        except ValueError as error:
            raise ValueError(f"MEDIAD_WEBHOOK_URLS: {error}") from None

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        """What signs what they are told: each of them."""
        named = _named_secrets(self.webhook_secrets, "MEDIAD_WEBHOOK_SECRETS")
        try:
            return secret_bytes(named)
        except ValueError as error:
            raise ValueError(f"MEDIAD_WEBHOOK_SECRETS: {error}") from None

    @property
    def queue_limits(self) -> QueueLimits:
        """How many jobs may wait."""
        return QueueLimits(waiting=self.queue_limit, of_one_owner=self.queue_limit // 10)

    @property
    def has_key_of_its_own(self) -> bool:
        """Whether it shares a database with other machines and yet signs with a key of this one."""
        return not self.keys and any(not _is_here(host) for host in _hosts(self.database_url))

    @property
    def database_connections(self) -> int:
        """How many connections to the database all processes of this instance may have."""
        jobs = self.cells + self.transcodes + 4 if "worker" in self.role_names else 0
        listening = 1
        return self.workers * (self.max_connections + jobs + listening)

    @property
    def delete_grace(self) -> timedelta:
        """How long a content nobody holds is kept."""
        return timedelta(seconds=self.delete_grace_seconds)

    @property
    def trash_time(self) -> timedelta:
        """How long what was moved to the trash is kept."""
        return timedelta(days=self.trash_days)

    @property
    def tombstone_time(self) -> timedelta:
        """How long rows of deleted media are kept."""
        return timedelta(days=self.tombstone_days)

    @property
    def base_url(self) -> str:
        """What URLs in answers begin with."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"http://{host}:{self.port}"


def _check_urls(settings: Settings) -> None:
    """Raise ValueError for the first address that can't be one."""
    for name, schemes in _SCHEMES.items():
        url = getattr(settings, name)
        if url and not url.startswith(schemes):
            raise ValueError(f"MEDIAD_{name.upper()} must begin with {' or '.join(schemes)}")
    _check_storage(settings)


def _check_sides(settings: Settings) -> None:
    try:
        parse_sides(settings.transformation_sides)
    except ValueError as error:
        raise ValueError(f"MEDIAD_TRANSFORMATION_SIDES must be {error}") from None


def _check_storage(settings: Settings) -> None:
    for name in ("storage_url", "storage_fallback_url"):
        if url := getattr(settings, name):
            try:
                parse_storage_url(url)
            except ValueError as error:
                raise ValueError(f"MEDIAD_{name.upper()}: {error}") from None
    other = settings.storage_fallback_url
    if other and parse_storage_url(other) == _store(settings):
        raise ValueError("MEDIAD_STORAGE_FALLBACK_URL must be another store than the first")
    if settings.delivery == "redirect" and not settings.storage_url.startswith("s3://"):
        raise ValueError("MEDIAD_DELIVERY=redirect needs MEDIAD_STORAGE_URL=s3://…")


def _store(settings: Settings) -> Path | S3Address:
    """Where blobs lie; without a URL, in the data folder."""
    if settings.storage_url:
        return parse_storage_url(settings.storage_url)
    return settings.data_dir.absolute() / "blobs"


def _check_ports(settings: Settings) -> None:
    """Raise ValueError for ports that can't be listened on beside each other, or be shared."""
    ports = (settings.port, settings.grpc_port, settings.metrics_port)
    chosen = [port for port in ports if port]
    if len(set(chosen)) < len(chosen):
        raise ValueError("MEDIAD_PORT, MEDIAD_GRPC_PORT and MEDIAD_METRICS_PORT must differ")
    if settings.workers > 1 and 0 in (settings.port, settings.grpc_port):
        raise ValueError("MEDIAD_WORKERS share their ports: MEDIAD_PORT and _GRPC_PORT can't be 0")


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _hosts(database_url: str) -> list[str]:
    """The hosts of a database's URL; a socket's folder begins with a slash."""
    parts = urlsplit(database_url)
    named = parse_qs(parts.query).get("host") or [parts.netloc.rpartition("@")[2]]
    return [host for host in named[0].split(",") if host]


def _is_here(host: str) -> bool:
    return unquote(host).startswith("/") or _is_loopback(urlsplit(f"//{host}").hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _named_secrets(text: str, setting: str) -> dict[str, str]:
    named: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, secret = part.partition(":")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name) or not _SECRET.fullmatch(secret):
            raise ValueError(
                f"{setting} is a list of name:secret, secrets of 16 characters or more"
            )
        named[name] = secret
    return named


def read_settings(**overrides: Any) -> Settings:
    """The settings. Raises SettingsRefused with one line for each that can't be used."""
    given = {name: value for name, value in overrides.items() if value is not None}
    _check_environment()
    try:
        return Settings(**given)
    except ValidationError as error:
        # One default hangs on another setting; that it can't be told is no fault of its own.
        told = [e for e in error.errors() if e["type"] != "default_factory_not_called"]
        lines = [f"{_setting(e['loc'])}{_reason(e['msg'])}" for e in told]
        raise SettingsRefused("\n".join(lines)) from None
    except (OSError, ValueError) as error:
        raise SettingsRefused(f"MEDIAD_CONFIG: {error}") from None


def _check_environment() -> None:
    """A misspelt setting must not pass for a default."""
    known = {f"MEDIAD_{name.upper()}" for name in Settings.model_fields} | _NOT_OURS
    unknown = sorted(n for n in os.environ if n.startswith("MEDIAD_") and n not in known)
    if unknown:
        raise SettingsRefused(f"no such setting: {', '.join(unknown)}")
    file = os.environ.get("MEDIAD_CONFIG")
    if file and not Path(file).is_file():
        raise SettingsRefused(f"MEDIAD_CONFIG: there is no file {file}")


def _setting(location: tuple[int | str, ...]) -> str:
    return f"MEDIAD_{str(location[0]).upper()}: " if location else ""


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ")
