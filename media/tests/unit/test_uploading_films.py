"""What only an inspection tells of an upload: how long it plays, and whether it has pictures."""

from __future__ import annotations

import dataclasses

import pytest
from fakes.in_memory_database import QueuedJob
from fakes.samples import BOB
from fakes.scripted_codecs import document, film, sound
from fakes.service import FakeService, fake_service
from media_service.core.errors import FileTooLarge, MediaError, TooLong, UnsupportedType
from media_service.core.formats import Format
from media_service.core.media import MediaType, ProcessingStatus, Purpose
from media_service.core.purposes import DEFAULT_POLICIES, Policies
from media_service.core.renditions import Stage

AS_IT_IS = {"filename": "", "content_type": ""}
POST = {**AS_IT_IS, "purpose": Purpose.POST_ATTACHMENT}
STORY = {**AS_IT_IS, "purpose": Purpose.STORY}
MESSAGE = {**AS_IT_IS, "purpose": Purpose.MESSAGE_ATTACHMENT}


@pytest.fixture
def fake() -> FakeService:
    return fake_service()


async def _is_refused(fake: FakeService, error: type[MediaError], content: bytes) -> None:
    before = (dict(fake.database.media), dict(fake.database.blobs), dict(fake.blobs.contents))
    with pytest.raises(error):
        await fake.upload(content, **STORY)
    assert (fake.database.media, fake.database.blobs, fake.blobs.contents) == before
    assert fake.staging.open_files == 0


async def test_a_film_is_answered_for_with_what_was_told_of_it(fake: FakeService) -> None:
    media = await fake.upload(film("sea", seconds=2.5), **POST)

    assert (media.media_type, media.content_type) == (MediaType.VIDEO, "video/mp4")
    assert (media.width, media.height, media.duration_ms) == (640, 360, 2500)
    assert (media.blurhash, media.has_audio) == ("Lsea", True)
    assert media.renditions[0].name == "full"
    assert {r.name for r in media.renditions if r.is_shown} == {
        *("poster", "320", "640", "1080"),
    }
    assert fake.database.jobs == [QueuedJob(media.id, 1)]


@pytest.mark.parametrize(("purpose", "seconds"), [("story", 60), ("post_attachment", 1800)])
async def test_what_plays_as_long_as_allowed_is_taken(
    fake: FakeService, purpose: str, seconds: int
) -> None:
    declared = {**AS_IT_IS, "purpose": Purpose(purpose)}

    await fake.upload(film(seconds=seconds), **declared)

    with pytest.raises(TooLong):
        await fake.upload(film(seconds=seconds + 0.001), **declared)


async def test_what_plays_too_long_leaves_nothing(fake: FakeService) -> None:
    await _is_refused(fake, TooLong, film(seconds=61))


async def test_what_is_known_from_another_purpose_may_be_too_long(fake: FakeService) -> None:
    await fake.upload_done(film(seconds=61), **POST)

    await _is_refused(fake, TooLong, film(seconds=61))


@pytest.mark.parametrize(
    ("container", "settled"), [(Format.MP4, "audio/mp4"), (Format.MOV, "audio/mp4")]
)
async def test_a_film_without_pictures_is_a_sound(
    fake: FakeService, container: Format, settled: str
) -> None:
    content = film(size=(0, 0), format=container, has_video=False)

    first = await fake.upload(content, **POST)
    second = await fake.upload(content, owner=BOB, **POST)

    for media in (first, second):
        assert (media.media_type, media.content_type) == (MediaType.AUDIO, settled)
        assert media.rendition("waveform")
        assert media.rendition("hls") is None


async def test_a_sound_in_a_films_container_is_none_of_a_story(fake: FakeService) -> None:
    content = film(size=(0, 0), has_video=False)
    await _is_refused(fake, UnsupportedType, content)
    await fake.upload(content, **POST)

    await _is_refused(fake, UnsupportedType, content)


async def test_what_turns_out_to_be_a_sound_may_be_no_larger_than_one() -> None:
    post = DEFAULT_POLICIES.of[Purpose.POST_ATTACHMENT]
    limits = {MediaType.VIDEO: 10_000, MediaType.AUDIO: 20}
    policies = {Purpose.POST_ATTACHMENT: dataclasses.replace(post, max_bytes=limits)}
    fake = fake_service(policies=Policies(version=1, of={**DEFAULT_POLICIES.of, **policies}))

    with pytest.raises(FileTooLarge):
        await fake.upload(film(size=(0, 0), has_video=False), **POST)

    await fake.upload(film(), **POST)


async def test_a_document_is_served_at_once_and_shown_soon(fake: FakeService) -> None:
    media = await fake.upload(document(pages=3), **MESSAGE)

    assert (media.pages, media.content_type) == (3, "application/pdf")
    assert not media.is_slow
    await fake.work()
    assert fake.database.media[media.id].status is ProcessingStatus.COMPLETED


async def test_a_sound_shows_its_wave_before_it_plays(fake: FakeService) -> None:
    media = await fake.upload(sound(), **MESSAGE)

    assert media.stages == tuple(Stage)
    assert {r.name for r in media.renditions if r.is_shown} == {"waveform", "wave"}
