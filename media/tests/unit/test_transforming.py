"""Transformations from the signed URL to the bytes, as readers see them."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import quote, urlsplit

import httpx
import pytest
from fakes.samples import ALICE, BOB
from fakes.scripted_codecs import developed_bytes, picture
from fakes.service import BASE_URL, KEY, OFFER, FakeService, fake_service
from media_service.core.access import UNENDING, Links, Signer
from media_service.core.errors import BrokenFile, InvalidTransformation, MediaNotFound
from media_service.core.media import Media, MediaType, Visibility, new_media_id
from media_service.core.readiness import Readiness
from media_service.core.recipes import TRANSFORMED, Encoding
from media_service.core.transformations import (
    MOST_OF_ONE_ORIGINAL,
    Offer,
    parse_sides,
    parse_transformation,
)
from media_service.entrypoints.http_api.app import http_app
from unit.test_transformations import ODD, SUPERFLUOUS

AVIF_FIRST = {"accept": "image/avif,image/webp,*/*"}
NEGOTIATED = "fit:320:480"
CHOSEN = "crop:640:480,focus:0.25:0.5,q:70.webp"


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


@pytest.fixture
async def http(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with _client(fake) as client:
        yield client


def _client(fake: FakeService, *, redirects: bool = False) -> httpx.AsyncClient:
    app = http_app(
        fake.service, readiness=Readiness(needed={}), capabilities=dict, redirects=redirects
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL)


async def _url(fake: FakeService, media: Media, spelled: str, *, seconds: int = 3600) -> str:
    url, _ = await fake.service.signing.sign(media.id, rendition=spelled, expiry_seconds=seconds)
    return url


def _expected(spelled: str, encoding: Encoding = Encoding.JPEG) -> bytes:
    return developed_bytes(picture(), parse_transformation(spelled).recipe(encoding))


def _kept(fake: FakeService) -> list[str]:
    return [key for key in fake.blobs.contents if f".{TRANSFORMED}" in key]


@pytest.mark.parametrize("visibility", Visibility)
@pytest.mark.parametrize("spelled", [CHOSEN, NEGOTIATED, "fill:64:64.avif", "crop:64:64.jpg"])
async def test_a_signed_transformation_is_made_and_delivered(
    fake: FakeService, http: httpx.AsyncClient, spelled: str, visibility: Visibility
) -> None:
    media = await fake.upload_done(picture(), visibility=visibility)

    answer = await http.get(await _url(fake, media, spelled))

    assert answer.status_code == 200
    assert answer.content == _expected(spelled)
    recipe = parse_transformation(spelled).recipe(Encoding.JPEG)
    assert answer.headers["content-type"] == recipe.content_type
    assert ("vary" in answer.headers) == (spelled == NEGOTIATED)


async def test_one_that_is_ready_before_any_job_ran(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload(picture())

    assert (await http.get(await _url(fake, media, CHOSEN))).content == _expected(CHOSEN)


async def test_the_reader_decides_what_it_gets_and_caches_are_told(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture())
    url = await _url(fake, media, NEGOTIATED)

    answers = [
        await http.get(url, headers={"accept": accept})
        for accept in ("image/avif,image/webp", "image/webp,*/*", "*/*")
    ]

    assert [answer.headers["content-type"] for answer in answers] == [
        "image/avif",
        "image/webp",
        "image/jpeg",
    ]
    assert {answer.headers["vary"] for answer in answers} == {"Accept"}
    assert len({answer.headers["etag"] for answer in answers}) == 3


async def test_a_thousand_ways_to_accept_leave_three_objects(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture())
    url = await _url(fake, media, NEGOTIATED)
    generator = random.Random(5)
    words = ["image/", "avif", "webp", "image/avif", "*/*", ";q=", "0", ".5", ",", " ", "png", "~"]

    for _ in range(1000):
        accept = "".join(generator.choices(words, k=generator.randrange(1, 20)))
        assert (await http.get(url, headers={"accept": accept})).status_code == 200

    assert len(_kept(fake)) == 3


async def test_head_ranges_and_revalidation_work_as_ever(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture())
    url = await _url(fake, media, NEGOTIATED)
    content = _expected(NEGOTIATED, Encoding.AVIF)

    head = await http.head(url, headers=AVIF_FIRST)
    part = await http.get(url, headers={**AVIF_FIRST, "range": "bytes=3-8"})
    same = await http.get(url, headers={**AVIF_FIRST, "if-none-match": head.headers["etag"]})
    other = await http.get(url, headers={"if-none-match": head.headers["etag"]})

    assert (head.status_code, head.headers["content-length"]) == (200, str(len(content)))
    assert (part.status_code, part.content) == (206, content[3:9])
    assert (same.status_code, same.headers["vary"]) == (304, "Accept")
    assert (other.status_code, other.headers["content-type"]) == (200, "image/jpeg")


async def test_the_url_of_what_is_public_is_the_same_for_ever(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture(), visibility=Visibility.PUBLIC)
    url = await _url(fake, media, CHOSEN, seconds=60)

    fake.clock.advance(timedelta(days=400))

    answer = await http.get(url)
    assert await _url(fake, media, CHOSEN, seconds=604_800) == url
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert f"exp={int(UNENDING.timestamp())}&" in url


async def test_the_url_of_what_is_private_ends(fake: FakeService, http: httpx.AsyncClient) -> None:
    media = await fake.upload_done(picture(), visibility=Visibility.PRIVATE)
    url = await _url(fake, media, CHOSEN, seconds=60)
    before = await http.get(url)

    fake.clock.advance(timedelta(seconds=76))

    assert before.headers["cache-control"].startswith("private, max-age=")
    assert (await http.get(url)).status_code == 403


@pytest.mark.parametrize("visibility", Visibility)
async def test_without_its_signature_it_is_refused_whatever_is_there(
    fake: FakeService, http: httpx.AsyncClient, visibility: Visibility
) -> None:
    media = await fake.upload_done(picture(), visibility=visibility)
    url = await _url(fake, media, CHOSEN)
    await http.get(url)
    bare = urlsplit(url)._replace(query="").geturl()

    for unsigned in (bare, f"{bare}?v=0123456789", bare.replace(media.id, new_media_id())):
        answer = await http.get(unsigned)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "invalid_signature")


async def test_a_signature_is_good_for_one_transformation_of_one_medium(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media, other = await fake.upload_done(picture()), await fake.upload_done(picture("other"))
    url = await _url(fake, media, CHOSEN)
    tampered = [
        url.replace("640", "320"),
        url.replace("crop", "fill"),
        url.replace("0.25", "0.26"),
        url.replace("q:70", "q:71"),
        url.replace(".webp", ".jpg"),
        url.replace(".webp", ""),
        url.replace(CHOSEN, NEGOTIATED),
        url.replace(CHOSEN, "full"),
        url.replace(media.id, other.id),
        url.replace(":", "%3A", 3).replace("https%3A", "https:"),
        url.replace("%", "").replace("640:480", "640%3A480"),
        url + "&q=1",
    ]

    statuses = [(await http.get(each)).status_code for each in tampered]

    assert statuses == [403] * len(tampered)
    assert len(fake.codecs.developed) == 2


@pytest.mark.parametrize("spelled", [text for text in [*ODD, *SUPERFLUOUS] if ":" in text])
async def test_what_is_no_transformation_is_refused_by_both_apis(
    fake: FakeService, http: httpx.AsyncClient, spelled: str
) -> None:
    media = await fake.upload_done(picture())

    unsigned = await http.get(f"/media/{media.id}/{quote(spelled, safe=':,')}")

    with pytest.raises(InvalidTransformation):
        await _url(fake, media, spelled)
    assert (unsigned.status_code, unsigned.json()["error"]["code"]) == (
        400,
        "invalid_transformation",
    )


async def test_sides_that_are_not_offered_are_neither_signed_nor_served(fake: FakeService) -> None:
    media = await fake.upload_done(picture())
    links, spelled = Links(BASE_URL, Signer((KEY,))), parse_transformation("fit:641:480")
    url = links.transformed_url(media, spelled, expires_at=fake.clock.now + timedelta(hours=1))

    with pytest.raises(InvalidTransformation):
        await _url(fake, media, "fit:641:480")
    async with _client(fake) as http:
        answer = await http.get(url)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_transformation")
    async with _client(fake_service(beside=fake, offer=parse_sides("any"))) as http:
        assert (await http.get(url)).status_code == 200


async def test_what_has_no_picture_is_not_transformed(fake: FakeService) -> None:
    media = await fake.upload_done(picture())
    sound = dataclasses.replace(media, media_type=MediaType.AUDIO)
    fake.database.media[media.id] = sound

    with pytest.raises(InvalidTransformation):
        await _url(fake, sound, CHOSEN)


async def test_two_hundred_readers_have_one_developer(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture())
    beside = fake_service(beside=fake)
    url = await _url(fake, media, CHOSEN)

    async with _client(beside) as other:
        answers = await asyncio.gather(*((http, other)[n % 2].get(url) for n in range(200)))

    assert {answer.content for answer in answers} == {_expected(CHOSEN)}
    assert len(fake.codecs.developed) + len(beside.codecs.developed) == 2  # the first by the job
    assert len(_kept(fake)) == 1


async def test_equal_bytes_of_two_media_are_transformed_once(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = [await fake.upload_done(picture(), owner=user) for user in (ALICE, BOB)]

    for each in media:
        assert (await http.get(await _url(fake, each, CHOSEN))).status_code == 200

    assert len(_kept(fake)) == 1


async def test_what_is_kept_of_one_original_ends_and_the_oldest_goes(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    media = await fake.upload_done(picture())
    planned = set(fake.blobs.contents)
    spelled = [f"fit:64:64,q:{quality}.jpg" for quality in range(1, MOST_OF_ONE_ORIGINAL + 6)]

    for each in spelled:
        assert (await http.get(await _url(fake, media, each))).status_code == 200
    kept = set(_kept(fake))
    again = await http.get(await _url(fake, media, spelled[0]))

    assert len(kept) == MOST_OF_ONE_ORIGINAL
    assert not any("-q5-" in key for key in kept)
    assert planned <= set(fake.blobs.contents)
    assert again.content == _expected(spelled[0])
    assert len(_kept(fake)) == MOST_OF_ONE_ORIGINAL


async def test_one_that_is_damaged_is_made_anew(fake: FakeService, http: httpx.AsyncClient) -> None:
    media = await fake.upload_done(picture())
    url = await _url(fake, media, CHOSEN)
    await http.get(url)
    fake.blobs.contents[_kept(fake)[0]] = b"rotten"

    assert (await http.get(url)).content == _expected(CHOSEN)


async def test_deletion_leaves_nothing(fake: FakeService, http: httpx.AsyncClient) -> None:
    media = await fake.upload_done(picture())
    url = await _url(fake, media, NEGOTIATED)
    for accept in ("image/avif", "image/webp", "*/*"):
        await http.get(url, headers={"accept": accept})
    assert len(_kept(fake)) == 3

    await fake.service.deleting.delete(media.id, user=ALICE)
    gone = await http.get(url)
    with pytest.raises(MediaNotFound):
        await _url(fake, media, NEGOTIATED)
    fake.clock.advance(timedelta(days=2))
    await fake.service.housekeeping.sweep()

    assert gone.status_code == 404
    assert fake.blobs.contents == {}
    assert fake.database.renditions == {}


async def test_of_what_failed_nothing_is_made(fake: FakeService, http: httpx.AsyncClient) -> None:
    media = await fake.upload(picture())
    fake.codecs.develop_error = BrokenFile()
    await fake.work()

    answer = await http.get(await _url(fake, media, CHOSEN))

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "media_failed")


async def test_readers_are_sent_to_the_store_by_what_they_take(fake: FakeService) -> None:
    fake.blobs.public_url = "https://store.example"
    media = await fake.upload_done(picture())
    url = await _url(fake, media, NEGOTIATED)

    async with _client(fake, redirects=True) as http:
        answer = await http.get(url, headers=AVIF_FIRST)
        chosen = await http.get(await _url(fake, media, CHOSEN))

    assert (answer.status_code, answer.headers["vary"]) == (302, "Accept")
    assert "type=image%2Favif" in answer.headers["location"]
    assert (chosen.status_code, "vary" in chosen.headers) == (302, False)


async def test_capabilities_tell_what_is_offered(
    fake: FakeService, http: httpx.AsyncClient
) -> None:
    told = (await http.get("/capabilities")).json()["data"]["transformations"]

    assert told == {
        "operations": ["fit", "fill", "crop"],
        "extensions": ["jpg", "webp", "avif"],
        "sides": sorted(OFFER.sides or ()),
        "default_quality": 85,
        "most_kept_of_one_original": MOST_OF_ONE_ORIGINAL,
    }
    async with _client(fake_service(offer=Offer())) as all_:
        said = (await all_.get("/capabilities")).json()["data"]["transformations"]
    assert said["sides"] is None
