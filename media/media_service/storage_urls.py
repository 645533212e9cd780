"""What a storage URL says: a folder of this machine, or a part of a bucket somewhere."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"(?:[A-Za-z0-9!_.*'()=-]+/)*")
_REGION = re.compile(r"[a-z0-9-]*")
_OPTIONS = frozenset({"endpoint", "region", "path_style"})
_ANY_REGION = "us-east-1"
_EXAMPLE = "s3://bucket/prefix?endpoint=https://…&region=…"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class S3Address:
    """A part of a bucket. Empty: what AWS's own configuration says."""

    bucket: str = ""
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    is_path_style: bool = False


def parse_storage_url(url: str) -> Path | S3Address:
    """What the URL says. Raises ValueError with a sentence for what it can't."""
    if url.startswith("file:///"):
        return Path(unquote(url.removeprefix("file://")))
    if url.startswith("s3://"):
        return _s3_address(urlsplit(url))
    raise ValueError(f"it must begin with file:/// or be like {_EXAMPLE}")


def _s3_address(url: SplitResult) -> S3Address:
    if "@" in url.netloc:
        raise ValueError(
            "credentials do not belong into the URL: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"
        )
    if not _BUCKET.fullmatch(url.netloc):
        raise ValueError(f"{url.netloc!r} is no name of a bucket; it is {_EXAMPLE}")
    prefix = "".join(f"{part}/" for part in unquote(url.path).split("/") if part)
    if not _PREFIX.fullmatch(prefix) or ".." in prefix.split("/"):
        raise ValueError(f"the prefix {prefix!r} has other characters than letters, digits, -_.")
    options = dict(parse_qsl(url.query, keep_blank_values=True))
    if unknown := sorted(set(options) - _OPTIONS):
        raise ValueError(f"{', '.join(unknown)} is unknown: {', '.join(sorted(_OPTIONS))} are not")
    return dataclasses.replace(_where(options), bucket=url.netloc, prefix=prefix)


def _where(options: dict[str, str]) -> S3Address:
    endpoint, region = options.get("endpoint", ""), options.get("region", "")
    if endpoint and not _is_endpoint(endpoint):
        raise ValueError("endpoint must be like https://s3.example.com, without a path")
    if not _REGION.fullmatch(region):
        raise ValueError("region must be like eu-central-1")
    path_style = options.get("path_style", "true" if endpoint else "false")
    if path_style not in ("true", "false"):
        raise ValueError("path_style must be true or false")
    return S3Address(
        endpoint=endpoint.rstrip("/"),
        # Compatible servers have one region and call it so, or do not ask.
        region=region or (_ANY_REGION if endpoint else ""),
        is_path_style=path_style == "true",
    )


def _is_endpoint(text: str) -> bool:
    url = urlsplit(text)
    return url.scheme in ("http", "https") and bool(url.hostname) and url.path in ("", "/")
