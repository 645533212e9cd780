from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from fakes.samples import ALICE, BOB
from fakes.scripted_codecs import developed_bytes, picture
from fakes.service import KEY, FakeService, fake_service
from media_service.core.access import Signature, Signer, SigningKey, media_path
from media_service.core.blobs import original_key
from media_service.core.delivering import Representation
from media_service.core.errors import (
    BrokenFile,
    DecoderUnavailable,
    InvalidSignature,
    MediaDamaged,
    MediaFailed,
    MediaNotFound,
    RenditionNotFound,
)
from media_service.core.media import Media, MediaId, Purpose, Visibility, new_media_id
from media_service.core.renditions import ProcessingOptions

SMALL = ProcessingOptions(generate_thumbnails=True, generate_blurhash=True, max_width=100)
HOUR = timedelta(hours=1)


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


def _version(media: Media, name: str = "full") -> str:
    rendition = media.rendition(name)
    assert rendition
    return rendition.recipe.version


def _signed(
    fake: FakeService, media_id: MediaId, version: str, *, lasting: timedelta = HOUR
) -> Signature:
    expires_at = fake.clock.now + lasting
    return fake.signer.sign(media_path(media_id, "full"), version=version, expires_at=expires_at)


async def _find(
    fake: FakeService,
    media: Media,
    name: str = "full",
    *,
    version: str = "",
    signature: Signature | None = None,
) -> Representation:
    return await fake.service.delivering.find(media.id, name, version=version, signature=signature)


async def _read(fake: FakeService, found: Representation) -> bytes:
    async with fake.service.delivering.open(found) as (opened, blob):
        assert blob.size_bytes == opened.stored.size_bytes
        return b"".join([piece async for piece in blob.read(0, blob.size_bytes)])


# Finding


async def test_a_rendition_is_delivered_as_it_was_made(fake: FakeService) -> None:
    media = await fake.upload_done(picture())

    for rendition in media.renditions:
        version = rendition.recipe.version
        found = await _find(fake, media, rendition.name, version=version)

        assert found.stored.content_type == "image/jpeg"
        assert found.stored.size_bytes == rendition.size_bytes
        assert await _read(fake, found) == developed_bytes(picture(), rendition.recipe)


async def test_a_url_is_good_before_any_job_ran(fake: FakeService) -> None:
    media = await fake.upload(picture())

    found = await _find(fake, media, "small", version=_version(media, "small"))

    recipe = media.renditions[1].recipe
    assert await _read(fake, found) == developed_bytes(picture(), recipe)


async def test_fifty_readers_who_are_faster_than_the_worker_have_one_developer(
    fake: FakeService,
) -> None:
    media = await fake.upload()

    await asyncio.gather(*(_find(fake, media, "small") for _ in range(50)))

    assert len(fake.codecs.developed) == 1


async def test_what_was_delivered_before_needs_no_database(fake: FakeService) -> None:
    media = await fake.upload_done()
    await _find(fake, media, version=_version(media))
    fake.database.go_away()

    found = await _find(fake, media, version=_version(media))

    await _read(fake, found)


async def test_the_exact_version_is_told_from_the_current_one(fake: FakeService) -> None:
    media = await fake.upload_done()

    assert (await _find(fake, media, version=_version(media))).is_exact
    for version in ["", "0123456789", "nonsense", "\0", "x" * 10_000, _version(media).upper()]:
        found = await _find(fake, media, version=version)
        assert not found.is_exact
        assert found.stored.version == _version(media)


async def test_an_old_version_stays_what_it_was(fake: FakeService) -> None:
    media = await fake.upload_done(picture())
    await fake.service.processing.request(media.id, user=ALICE, options=SMALL)
    await fake.work()

    old = await _find(fake, media, version=_version(media))
    new = await _find(fake, media)

    assert (old.is_exact, old.stored.width) == (True, 1200)
    assert (new.is_exact, new.stored.width) == (False, 100)
    assert await _read(fake, old) == developed_bytes(picture(), media.renditions[0].recipe)


async def test_a_medium_that_is_not_there_is_not_delivered(fake: FakeService) -> None:
    with pytest.raises(MediaNotFound):
        await fake.service.delivering.find(new_media_id(), "full", version="", signature=None)


async def test_a_deleted_medium_is_not_delivered(fake: FakeService) -> None:
    media = await fake.upload_done()
    await _find(fake, media)

    await fake.service.deleting.delete(media.id, user=ALICE)

    with pytest.raises(MediaNotFound):
        await _find(fake, media, version=_version(media))


@pytest.mark.parametrize(
    "name",
    ["", "Full", "../full", "original", "320", "\0", "x" * 10_000],
    ids=lambda name: ascii(name[:24]),
)
async def test_a_rendition_that_the_medium_does_not_have_is_not_found(
    fake: FakeService, name: str
) -> None:
    media = await fake.upload_done()

    with pytest.raises(RenditionNotFound):
        await _find(fake, media, name)


async def test_a_medium_that_failed_is_not_delivered(fake: FakeService) -> None:
    media = await fake.upload()
    fake.codecs.develop_error = BrokenFile()
    await fake.work()

    with pytest.raises(MediaFailed):
        await _find(fake, media)


@pytest.mark.parametrize("code", ["too_complex", "unsupported_type", "cancelled_by_operator"])
async def test_what_failed_for_good_is_not_tried_for_readers(fake: FakeService, code: str) -> None:
    media = await fake.upload()
    await fake.service.processing.give_up(media.id, revision=1, code=code)

    with pytest.raises(MediaFailed):
        await _find(fake, media)


@pytest.mark.parametrize("code", ["storage_unavailable", "storage_full", "internal_error"])
async def test_what_jobs_gave_up_though_the_file_is_right_is_made_for_readers(
    fake: FakeService, code: str
) -> None:
    media = await fake.upload()
    await fake.service.processing.give_up(media.id, revision=1, code=code)

    assert await _read(fake, await _find(fake, media))


async def test_a_busy_decoder_is_told(fake: FakeService) -> None:
    media = await fake.upload()
    fake.codecs.develop_error = DecoderUnavailable()

    with pytest.raises(DecoderUnavailable):
        await _find(fake, media)


# Signatures


async def test_a_private_medium_without_a_signature_is_not_found(fake: FakeService) -> None:
    media = await fake.upload_done(visibility=Visibility.PRIVATE)

    with pytest.raises(MediaNotFound):
        await _find(fake, media, version=_version(media))


async def test_a_signature_opens_a_private_medium(fake: FakeService) -> None:
    media = await fake.upload_done(picture(), visibility=Visibility.PRIVATE)
    version = _version(media)

    found = await _find(fake, media, version=version, signature=_signed(fake, media.id, version))

    assert await _read(fake, found) == developed_bytes(picture(), media.renditions[0].recipe)


async def test_a_signature_opens_no_other_rendition_version_or_medium(fake: FakeService) -> None:
    media = await fake.upload_done(visibility=Visibility.PRIVATE)
    other = await fake.upload_done(picture("other"), visibility=Visibility.PRIVATE)
    version = _version(media)
    signature = _signed(fake, media.id, version)

    with pytest.raises(InvalidSignature):
        await _find(fake, media, "small", version=version, signature=signature)
    with pytest.raises(InvalidSignature):
        await _find(fake, media, version="", signature=signature)
    with pytest.raises(InvalidSignature):
        await _find(fake, other, version=version, signature=signature)


async def test_a_signature_ends(fake: FakeService) -> None:
    media = await fake.upload_done(visibility=Visibility.PRIVATE)
    version = _version(media)
    signature = _signed(fake, media.id, version)

    fake.clock.advance(HOUR)

    with pytest.raises(InvalidSignature):
        await _find(fake, media, version=version, signature=signature)


async def test_a_wrong_signature_is_refused_whatever_is_there(fake: FakeService) -> None:
    public = await fake.upload_done(picture("public"))
    private = await fake.upload_done(picture("private"), visibility=Visibility.PRIVATE)
    stranger = Signer((SigningKey(KEY.id, b"guess"),))
    path = media_path(public.id, "full")
    forged = stranger.sign(path, version="", expires_at=fake.clock.now + HOUR)

    for media_id in (public.id, private.id, new_media_id()):
        with pytest.raises(InvalidSignature):
            await fake.service.delivering.find(media_id, "full", version="", signature=forged)
    assert fake.database.calls["media.find"] <= 4


async def test_a_right_signature_does_not_bring_back_what_is_gone(fake: FakeService) -> None:
    media = await fake.upload_done(visibility=Visibility.PRIVATE)
    version = _version(media)
    await fake.service.deleting.delete(media.id, user=ALICE)

    with pytest.raises(MediaNotFound):
        await _find(fake, media, version=version, signature=_signed(fake, media.id, version))


# How long it may be kept


async def test_public_media_may_be_kept_for_ever(fake: FakeService) -> None:
    media = await fake.upload_done()

    assert (await _find(fake, media)).lasting is None


async def test_private_media_may_be_kept_as_long_as_the_signature_lasts(fake: FakeService) -> None:
    media = await fake.upload_done(visibility=Visibility.PRIVATE)
    version = _version(media)
    signature = _signed(fake, media.id, version)
    fake.clock.advance(timedelta(minutes=20))

    found = await _find(fake, media, version=version, signature=signature)

    assert found.lasting == timedelta(minutes=40)


async def test_a_story_may_be_kept_until_it_ends(fake: FakeService) -> None:
    media = await fake.upload_done(purpose=Purpose.STORY)
    fake.clock.advance(timedelta(hours=23, minutes=59, seconds=58, milliseconds=500))

    assert (await _find(fake, media)).lasting == timedelta(seconds=1)


async def test_whatever_ends_first_ends_it(fake: FakeService) -> None:
    media = await fake.upload_done(purpose=Purpose.STORY)
    version = _version(media)
    long = _signed(fake, media.id, version, lasting=timedelta(days=7))
    short = _signed(fake, media.id, version, lasting=HOUR)

    capped = await _find(fake, media, version=version, signature=long)
    signed = await _find(fake, media, version=version, signature=short)

    assert (capped.lasting, signed.lasting) == (timedelta(hours=24), HOUR)


# Damage


async def test_a_damaged_rendition_is_healed_before_it_is_read(fake: FakeService) -> None:
    media = await fake.upload_done(picture())
    found = await _find(fake, media)
    fake.blobs.contents[found.stored.key] = b"rotten"

    content = await _read(fake, found)

    assert content == developed_bytes(picture(), media.renditions[0].recipe)
    assert fake.blobs.contents[found.stored.key] == content


async def test_a_missing_rendition_is_healed_before_it_is_read(fake: FakeService) -> None:
    media = await fake.upload_done(picture())
    found = await _find(fake, media)
    del fake.blobs.contents[found.stored.key]

    assert await _read(fake, found) == developed_bytes(picture(), media.renditions[0].recipe)


async def test_fifty_readers_of_a_damaged_rendition_have_one_developer(fake: FakeService) -> None:
    media = await fake.upload_done()
    found = await _find(fake, media)
    fake.blobs.contents[found.stored.key] = b"rotten"

    contents = await asyncio.gather(*(_read(fake, found) for _ in range(50)))

    assert len(set(contents)) == 1
    assert len(fake.codecs.developed) == 2


async def test_a_damaged_original_does_not_harm_what_was_made_of_it(fake: FakeService) -> None:
    media = await fake.upload_done(picture())
    fake.blobs.contents[original_key(media.sha256)] = b"rotten"

    content = await _read(fake, await _find(fake, media))

    assert content == developed_bytes(picture(), media.renditions[0].recipe)


async def test_a_rendition_whose_original_is_damaged_too_is_told(fake: FakeService) -> None:
    media = await fake.upload_done()
    found = await _find(fake, media)
    fake.blobs.contents = dict.fromkeys(fake.blobs.contents, b"rotten")

    with pytest.raises(MediaDamaged):
        await _read(fake, found)


async def test_an_upload_of_the_same_bytes_heals_everything(fake: FakeService) -> None:
    media = await fake.upload_done(picture())
    fake.blobs.contents = dict.fromkeys(fake.blobs.contents, b"rotten")

    await fake.upload(picture(), owner=BOB)

    for rendition in media.renditions:
        content = await _read(fake, await _find(fake, media, rendition.name))
        assert content == developed_bytes(picture(), rendition.recipe)


async def test_an_old_version_that_is_damaged_is_not_found(fake: FakeService) -> None:
    media = await fake.upload_done()
    await fake.service.processing.request(media.id, user=ALICE, options=SMALL)
    await fake.work()
    old = await _find(fake, media, version=_version(media))
    fake.blobs.contents[old.stored.key] = b"rotten"

    with pytest.raises(RenditionNotFound):
        await _read(fake, old)


async def test_what_was_remembered_before_a_sweep_is_made_anew(fake: FakeService) -> None:
    first = await fake.upload_done(picture())
    await fake.service.deleting.delete(first.id, user=ALICE)
    await fake.service.housekeeping.sweep(grace=timedelta(0))
    second = await fake.upload(picture())

    content = await _read(fake, await _find(fake, second))

    assert content == developed_bytes(picture(), second.renditions[0].recipe)
