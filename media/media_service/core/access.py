"""Access: the URLs of renditions, and the signatures that open private ones.

A signature is HMAC-SHA256 over method, path, version and expiry, made with the first of the
keys and accepted with any, so that keys rotate: put the new one in front, remove the old one
when what it signed has expired (8 days: 7, rounded up to the next day).
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from media_service.core.errors import InvalidExpiry, InvalidSignature
from media_service.core.media import Media, MediaId, Visibility
from media_service.core.renditions import Rendition, Role
from media_service.core.transformations import Transformation

MAX_EXPIRY = timedelta(days=7)
ANSWER_EXPIRY = timedelta(hours=1)
"""How long the URLs of private media in answers work."""
UNENDING = datetime(2100, 1, 1, tzinfo=UTC)
"""When signatures end that only prove whose a URL is, because what it opens is public."""
_GRID_SECONDS = (86_400, 21_600, 3_600, 900, 300, 60, 15, 5, 1)


@dataclasses.dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs URLs, and the name it goes by in them."""

    id: str
    secret: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a signed URL carries: expiry in Unix seconds, key id, signature."""

    expires: int
    key_id: str
    signature: str

    @property
    def query(self) -> str:
        """As it stands in a URL, after the version."""
        return f"exp={self.expires}&kid={self.key_id}&sig={self.signature}"


def parse_expiry(seconds: int) -> timedelta:
    """How long a URL should work. Raises InvalidExpiry outside 1 second to 7 days."""
    if not 1 <= seconds <= MAX_EXPIRY.total_seconds():
        raise InvalidExpiry
    return timedelta(seconds=seconds)


def quantised_expiry(now: datetime, lasting: timedelta) -> datetime:
    """When a URL asked for now ends: never early, up to a quarter late, on a grid.

    So equal requests within a step get equal URLs, and caches hit.
    """
    wanted = lasting.total_seconds()
    step = next((s for s in _GRID_SECONDS if s * 4 <= wanted), 1)
    end = -(-(now.timestamp() + wanted) // step) * step
    return datetime.fromtimestamp(end, UTC)


class Signer:
    """Signs paths and checks what others present as signed."""

    def __init__(self, keys: tuple[SigningKey, ...]) -> None:
        self._first = keys[0]
        self._keys: Mapping[str, SigningKey] = {key.id: key for key in keys}

    def sign(self, path: str, *, version: str, expires_at: datetime) -> Signature:
        """A signature that lets whoever has it read this path until it expires."""
        expires = int(expires_at.timestamp())
        made = _hmac(self._first, path, version, expires)
        return Signature(expires=expires, key_id=self._first.id, signature=made)

    def verify(self, signature: Signature, path: str, *, version: str, now: datetime) -> None:
        """Raise InvalidSignature unless it is ours, for this path and version, and in time."""
        key = self._keys.get(signature.key_id)
        if key is None or signature.expires <= now.timestamp():
            raise InvalidSignature
        made = _hmac(key, path, version, signature.expires)
        if not hmac.compare_digest(made.encode(), signature.signature.encode()):
            raise InvalidSignature


def _hmac(key: SigningKey, path: str, version: str, expires: int) -> str:
    message = f"GET\n{path}\n{version}\n{expires}".encode()
    digest = hmac.digest(key.secret, message, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def media_path(media_id: MediaId, rendition: str) -> str:
    """The path a rendition is delivered under."""
    return f"/media/{media_id}/{rendition}"


class Links:
    """Builds the URLs that stand in answers. `base_url` is what they begin with."""

    def __init__(self, base_url: str, signer: Signer) -> None:
        self._base_url = base_url.rstrip("/")
        self._signer = signer

    def url(self, media: Media, rendition: Rendition, *, now: datetime) -> str:
        """The URL of a rendition: signed for about an hour if the medium is private."""
        if media.visibility is Visibility.PUBLIC:
            path = media_path(media.id, rendition.name)
            return f"{self._base_url}{path}?v={rendition.recipe.version}"
        return self.signed_url(media, rendition, expires_at=quantised_expiry(now, ANSWER_EXPIRY))

    def signed_url(self, media: Media, rendition: Rendition, *, expires_at: datetime) -> str:
        """A URL that lets whoever has it read the rendition until it expires."""
        return self._signed(media, rendition.name, rendition.recipe.version, expires_at)

    def transformed_url(
        self, media: Media, transformation: Transformation, *, expires_at: datetime
    ) -> str:
        """A URL of a transformation of the medium, which works until then."""
        return self._signed(media, transformation.spelled, transformation.version, expires_at)

    def _signed(self, media: Media, name: str, version: str, expires_at: datetime) -> str:
        path = media_path(media.id, name)
        made = self._signer.sign(path, version=version, expires_at=expires_at)
        return f"{self._base_url}{path}?v={version}&{made.query}"


def split_renditions(media: Media) -> tuple[tuple[Rendition, ...], tuple[Rendition, ...]]:
    """What answers show of the medium: renditions proper, and thumbnails."""
    shown = [rendition for rendition in media.renditions if rendition.is_shown]
    proper = tuple(r for r in shown if r.role is Role.RENDITION)
    return proper, tuple(r for r in shown if r.role is Role.THUMBNAIL)
