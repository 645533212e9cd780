"""Callers of the services that keep account of what they were answered."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import jwt
from media_proto import media_service_pb2 as pb

from tests.e2e.processes import Mediad, Stub, stub, upload_request
from tests.e2e.userd_process import Userd

ISSUER, SECRET = "proofs", "a secret that only the proofs and userd know"
OUTSIDE = {
    "USERD_JWT_OUTSIDE_ISSUER": ISSUER,
    "USERD_JWT_OUTSIDE_ALGORITHMS": "HS256",
    "USERD_JWT_OUTSIDE_SECRET": SECRET,
    "USERD_UPLOADS_PER_USER": "100000",
}
"""Settings of a user service that lets in whoever `token_of` names."""
PICTURE = "/api/v1/media/profile-picture"


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Calls one media service over gRPC, and reads its URLs."""

    media: Stub
    http: httpx.AsyncClient

    async def upload(
        self, content: bytes, *, user: str = "alice", key: str = "", timeout: float = 30
    ) -> str:
        """Upload a profile picture; its id. What is returned is acknowledged."""
        return (await self.uploaded(content, user=user, key=key, timeout=timeout)).media_id

    async def uploaded(
        self, content: bytes, *, user: str = "alice", key: str = "", timeout: float = 30
    ) -> pb.UploadMediaResponse:
        """Upload a profile picture; the whole answer."""
        request = upload_request(content, user_id=user, idempotency_key=key)
        return await self.media.UploadMedia(request, timeout=timeout)

    async def delete(self, media_id: str, *, user: str = "alice", timeout: float = 30) -> None:
        """Delete a medium."""
        request = pb.DeleteMediaRequest(media_id=media_id, user_id=user)
        await self.media.DeleteMedia(request, timeout=timeout)

    async def get(self, media_id: str, *, timeout: float = 30) -> pb.MediaResponse:
        """What is known of a medium."""
        return await self.media.GetMedia(pb.GetMediaRequest(media_id=media_id), timeout=timeout)

    async def is_readable(self, media_id: str, *, sha256: str) -> bool:
        """Whether the medium is of these bytes and its picture is served."""
        known = await self.get(media_id)
        return known.sha256 == sha256 and (await self.http.get(known.url)).status_code == 200


@asynccontextmanager
async def calling(mediad: Mediad) -> AsyncIterator[Caller]:
    """A caller of this media service."""
    async with mediad.channel() as channel, httpx.AsyncClient(timeout=60) as http:
        yield Caller(stub(channel), http)


def token_of(user: str) -> str:
    """What lets this user in at a user service that has the settings `OUTSIDE`."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "userd", "sub": user, "iat": now, "exp": now + 3600}
    return jwt.encode(claims, SECRET, "HS256")


@asynccontextmanager
async def browsing(userd: Userd) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the user service; `authorized` says whose."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=userd.base_url, timeout=90, limits=limits) as http:
        yield http


def authorized(user: str, *, key: str = "") -> dict[str, str]:
    """Headers of a request of this user."""
    headers = {"Authorization": f"Bearer {token_of(user)}"}
    return headers | ({"Idempotency-Key": key} if key else {})


async def put_picture(
    http: httpx.AsyncClient, content: bytes, *, user: str, key: str = ""
) -> httpx.Response:
    """Upload a profile picture through the user service."""
    files = {"file": ("photo.jpg", content, "image/jpeg")}
    return await http.post(PICTURE, files=files, headers=authorized(user, key=key))
