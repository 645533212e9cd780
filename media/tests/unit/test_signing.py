from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from fakes.samples import ALICE
from fakes.service import FakeService, fake_service
from media_service.core.access import Signature
from media_service.core.errors import InvalidExpiry, MediaNotFound, RenditionNotFound
from media_service.core.media import MediaId, Purpose, Visibility, new_media_id


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


def _taken_apart(url: str) -> tuple[MediaId, str, str, Signature]:
    parts = urlsplit(url)
    query = {name: value for name, [value] in parse_qs(parts.query).items()}
    _, _, media_id, name = parts.path.split("/")
    signature = Signature(expires=int(query["exp"]), key_id=query["kid"], signature=query["sig"])
    return MediaId(media_id), name, query["v"], signature


@pytest.mark.parametrize("visibility", Visibility)
async def test_a_signed_url_delivers(fake: FakeService, visibility: Visibility) -> None:
    media = await fake.upload_done(visibility=visibility)

    url, expires_at = await fake.service.signing.sign(
        media.id, rendition="small", expiry_seconds=60
    )

    media_id, name, version, signature = _taken_apart(url)
    delivery = await fake.service.delivering.find(
        media_id, name, version=version, signature=signature
    )
    assert url.startswith("https://cdn.example/")
    assert (delivery.media.id, name, delivery.is_exact) == (media.id, "small", True)
    assert signature.expires == expires_at.timestamp()
    assert 60 <= (expires_at - fake.clock.now).total_seconds() <= 75


async def test_no_rendition_named_means_full(fake: FakeService) -> None:
    media = await fake.upload_done()

    url, _ = await fake.service.signing.sign(media.id, rendition="", expiry_seconds=60)

    assert _taken_apart(url)[1] == "full"


async def test_equal_requests_get_equal_urls(fake: FakeService) -> None:
    media = await fake.upload_done()
    fake.clock.advance(timedelta(milliseconds=1))
    first = await fake.service.signing.sign(media.id, rendition="", expiry_seconds=3600)

    fake.clock.advance(timedelta(minutes=14))

    again = await fake.service.signing.sign(media.id, rendition="", expiry_seconds=3600)
    assert again == first


@pytest.mark.parametrize("seconds", [0, -1, 604_801, 2**63])
async def test_an_expiry_out_of_range_is_refused_before_anything_is_read(
    fake: FakeService, seconds: int
) -> None:
    with pytest.raises(InvalidExpiry):
        await fake.service.signing.sign(new_media_id(), rendition="", expiry_seconds=seconds)


async def test_a_rendition_that_is_not_there_is_not_signed(fake: FakeService) -> None:
    media = await fake.upload_done()

    with pytest.raises(RenditionNotFound):
        await fake.service.signing.sign(media.id, rendition="huge", expiry_seconds=60)


async def test_a_medium_that_is_not_there_is_not_signed(fake: FakeService) -> None:
    media = await fake.upload_done(purpose=Purpose.AVATAR)
    await fake.service.deleting.delete(media.id, user=ALICE)

    for media_id in (media.id, new_media_id()):
        with pytest.raises(MediaNotFound):
            await fake.service.signing.sign(media_id, rendition="", expiry_seconds=60)
