"""`FilmCodecs` on real cells: what sound films are taken for, and the pictures of their posters."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from fakes import films
from fakes.boxes import overwritten
from media_service.core.errors import DecoderUnavailable, UnsupportedCodec
from media_service.core.formats import Format
from media_service.core.recipes import Encoding, FilmRecipe, PictureRecipe, Recipe, Shape
from media_service.core.renditions import Inspection
from media_service.core.sniffing import sniff
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.films.codecs import AV_CELL, AV_TIME_LIMITS, FilmCodecs
from media_service.infra.codecs.films.stills import inspect
from PIL import Image

pytestmark = pytest.mark.asyncio(loop_scope="module")

POSTER = PictureRecipe(shape=Shape.FIT, width=2048, height=2048, quality=92, encoding=Encoding.JPEG)
SQUARE = PictureRecipe(shape=Shape.CROP, width=60, height=60, quality=85, encoding=Encoding.WEBP)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cells() -> AsyncIterator[Cells]:
    async with Cells(AV_CELL, size=1, time_limits=AV_TIME_LIMITS) as cells:
        yield cells


@pytest.fixture
def codecs(cells: Cells) -> FilmCodecs:
    return FilmCodecs(cells)


class Cinema:
    """Puts films into files, and posters out of them."""

    def __init__(self, codecs: FilmCodecs, folder: Path) -> None:
        self.codecs = codecs
        self._source, self._folder = folder / "source", folder

    async def inspect(self, content: bytes) -> Inspection:
        self._source.write_bytes(content)
        return await self.codecs.inspect(self._source, format=self._format(content))

    async def poster(self, content: bytes, recipe: PictureRecipe = POSTER) -> Image.Image:
        return (await self.pictures(content, recipe))[0]

    async def pictures(self, content: bytes, *recipes: PictureRecipe) -> list[Image.Image]:
        self._source.write_bytes(content)
        targets = [(recipe, self._folder / str(i)) for i, recipe in enumerate(recipes)]
        format = self._format(content)
        sizes = await self.codecs.develop(self._source, format=format, targets=targets)
        made: list[Image.Image] = [Image.open(io.BytesIO(path.read_bytes())) for _, path in targets]
        assert [picture.size for picture in made] == sizes
        return made

    @staticmethod
    def _format(content: bytes) -> Format:
        format = sniff(content[:4096])
        assert format is not None
        return format


@pytest.fixture
def cinema(codecs: FilmCodecs, tmp_path: Path) -> Cinema:
    return Cinema(codecs, tmp_path)


def is_upright(picture: Image.Image) -> bool:
    """Whether its corners are where `films` puts them."""
    pixels = np.asarray(picture.convert("RGB"), dtype=int)
    wanted = ((pixels[5, 5], films.RED), (pixels[-6, -6], films.BLUE))
    return all(np.abs(found - colour).max() < 40 for found, colour in wanted)


KINDS = {
    "H.264 and AAC in MP4": {},
    "H.264 and MP3 in MP4": {"audio": "mp3"},
    "HEVC and AAC in MOV": {"codec": "hevc", "container": "mov"},
    "VP8 and Vorbis in WebM": {"codec": "vp8", "container": "webm", "audio": "vorbis"},
    "VP9 and Opus in WebM": {"codec": "vp9", "container": "webm", "audio": "opus"},
    "AV1 and Opus in WebM": {"codec": "av1", "container": "webm", "audio": "opus"},
    "AV1 and AAC in MP4": {"codec": "av1"},
    "H.264 and FLAC in MKV": {"container": "mkv", "audio": "flac"},
    "HEVC and PCM in MOV": {"codec": "hevc", "container": "mov", "audio": "pcm"},
    "a fragmented MP4": {"options": ("-movflags", "frag_keyframe+empty_moov")},
    "an MP4 whose index comes first": {"options": ("-movflags", "faststart")},
    "a WebM without index or length": {
        "codec": "vp8",
        "container": "webm",
        "audio": "opus",
        "options": ("-live", "1"),
    },
    "frames of no fixed rate": {"is_of_variable_rate": True},
    "10 bits": {"codec": "hevc", "hdr": "pq"},
    "HLG": {"codec": "hevc", "hdr": "hlg", "container": "mov"},
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_film_of_every_kind(cinema: Cinema, kind: str) -> None:
    content = films.film(**KINDS[kind])  # type: ignore[arg-type]

    inspection = await cinema.inspect(content)
    poster = await cinema.poster(content)

    assert (inspection.width, inspection.height) == (320, 180)
    assert (inspection.has_video, inspection.has_audio) == (True, True)
    assert inspection.duration_ms == pytest.approx(1000, abs=60)
    assert (inspection.frames, inspection.has_transparency) == (1, False)
    assert poster.size == (320, 180)
    assert is_upright(poster)


async def test_every_container_is_decoded_here(codecs: FilmCodecs) -> None:
    assert codecs.formats() == {Format.MP4, Format.MOV, Format.WEBM, Format.MKV}
    assert {"pyav", "libavformat", "libavcodec"} <= set(codecs.versions())


@pytest.mark.parametrize("rotation", [90, 180, 270])
async def test_a_film_is_upright_by_its_display_matrix(cinema: Cinema, rotation: int) -> None:
    content = films.film(rotation=rotation)

    inspection = await cinema.inspect(content)

    assert (inspection.width, inspection.height) == (320, 180)
    assert is_upright(await cinema.poster(content))


TURNS = {
    # a, b, c, d of the display matrix, and what it does to a picture.
    (1, 0, 0, 1): None,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("matrix", TURNS)
async def test_a_film_is_turned_and_mirrored_as_its_matrix_says(
    cinema: Cinema, matrix: tuple[int, int, int, int]
) -> None:
    plain = await cinema.poster(films.film())
    turn = TURNS[matrix]
    a, b, c, d = (number << 16 for number in matrix)
    written = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)

    turned = await cinema.poster(
        overwritten(films.film(), b"moov", b"trak", b"tkhd", at=40, with_=written)
    )

    wanted = np.asarray(plain.transpose(turn) if turn is not None else plain, dtype=float)
    assert np.asarray(turned).shape == wanted.shape
    assert np.abs(np.asarray(turned) - wanted).mean() < 4


async def test_what_a_phone_records_is_upright_and_says_nothing_of_place_or_device(
    cinema: Cinema,
) -> None:
    content = films.phone_film()
    assert all(canary in content for canary in films.CANARIES)

    inspection = await cinema.inspect(content)
    poster = await cinema.poster(content)

    assert (inspection.width, inspection.height) == (180, 320)
    assert is_upright(poster)
    assert not set(poster.info) - {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize(("aspect", "size"), [("2/1", (640, 180)), ("1/2", (320, 360))])
async def test_pixels_that_are_not_square_are_made_so(
    cinema: Cinema, aspect: str, size: tuple[int, int]
) -> None:
    content = films.film(sample_aspect=aspect)

    inspection = await cinema.inspect(content)

    assert (inspection.width, inspection.height) == size
    assert (await cinema.poster(content)).size == size


async def test_odd_sides_are_kept(cinema: Cinema) -> None:
    poster = await cinema.poster(films.film(size=(161, 91)))

    assert poster.size == (161, 91)
    assert is_upright(poster)


@pytest.mark.parametrize("hdr", ["pq", "hlg"])
async def test_hdr_looks_like_what_was_filmed(cinema: Cinema, hdr: str) -> None:
    plain = await cinema.poster(films.film(codec="hevc"))
    mapped = await cinema.poster(films.film(codec="hevc", hdr=hdr))

    difference = np.asarray(plain, dtype=float) - np.asarray(mapped, dtype=float)
    assert np.abs(difference).mean() < 16


async def test_a_film_without_sound(cinema: Cinema) -> None:
    inspection = await cinema.inspect(films.film(audio=""))

    assert (inspection.has_video, inspection.has_audio) == (True, False)


async def test_sound_we_do_not_decode_counts_as_none(cinema: Cinema) -> None:
    inspection = await cinema.inspect(films.film(audio="ac3"))

    assert (inspection.has_video, inspection.has_audio) == (True, False)


@pytest.mark.parametrize("container", ["mkv", "mov"])
async def test_of_several_streams_the_default_one_is_the_film(
    cinema: Cinema, container: str
) -> None:
    inspection = await cinema.inspect(films.film_of_several_streams(container=container))

    assert (inspection.width, inspection.height) == (160, 90)
    assert inspection.has_audio


@pytest.mark.parametrize("has_cover", [False, True])
async def test_a_container_of_sound_is_no_film_whatever_its_cover(
    cinema: Cinema, *, has_cover: bool
) -> None:
    inspection = await cinema.inspect(films.sound_in_film(has_cover=has_cover))

    assert (inspection.has_video, inspection.has_audio) == (False, True)
    assert (inspection.width, inspection.height, inspection.blurhash) == (0, 0, "")
    assert inspection.duration_ms == pytest.approx(1000, abs=60)


async def test_a_codec_that_is_not_taken_is_named_so(cinema: Cinema) -> None:
    with pytest.raises(UnsupportedCodec):
        await cinema.inspect(films.film(codec="mpeg4"))


async def test_a_length_that_the_header_claims_is_not_believed(cinema: Cinema) -> None:
    hours = (3600 * 1000 * 500).to_bytes(4, "big")
    content = overwritten(films.film(), b"moov", b"mvhd", at=16, with_=hours)

    assert (await cinema.inspect(content)).duration_ms == pytest.approx(1000, abs=60)


@pytest.mark.parametrize("paused_at", ["0.9", "0.98", "1.02"])
async def test_a_pause_among_frames_out_of_order_counts_once(
    cinema: Cinema, paused_at: str
) -> None:
    source = ("-f", "lavfi", "-i", films.pattern((320, 180), seconds=4))
    pause = ("-vf", f"select=lt(t\\,{paused_at})+gt(t\\,3)", "-fps_mode", "vfr")
    order = ("-c:v", "libx264", "-x264-params", "b-adapt=0:scenecut=0", "-pix_fmt", "yuv420p")
    content = films.made([*source, *pause, *order], container="mp4")

    assert (await cinema.inspect(content)).duration_ms == pytest.approx(4000, abs=60)


async def test_a_film_that_fades_in_shows_a_frame_that_is_not_black(cinema: Cinema) -> None:
    fading = ("-vf", "fade=t=in:st=0.4:d=0.2", "-g", "10")
    poster = await cinema.poster(films.film(options=fading))

    assert is_upright(poster)


async def test_a_film_that_stays_black_has_a_black_poster(cinema: Cinema) -> None:
    poster = await cinema.poster(films.film(options=("-vf", "drawbox=c=black:t=fill")))

    assert np.asarray(poster).max() < 30


async def test_a_poster_is_fitted_and_cropped_in_one_go(cinema: Cinema) -> None:
    poster, square = await cinema.pictures(films.film(), POSTER, SQUARE)

    assert (poster.size, poster.format) == ((320, 180), "JPEG")
    assert (square.size, square.format) == ((60, 60), "WEBP")


async def test_an_inspected_film_and_one_that_was_not_have_the_same_poster(
    cinema: Cinema,
) -> None:
    content = films.film(size=(2560, 1440), seconds=0.2)
    inspection = await cinema.inspect(content)
    (after,) = await cinema.pictures(content, POSTER)
    (again,) = await cinema.pictures(content, POSTER)

    assert (inspection.width, inspection.height) == (2560, 1440)
    assert after.size == (2048, 1152)
    assert after.tobytes() == again.tobytes()


async def test_equal_pictures_have_equal_hashes_in_every_codec(cinema: Cinema) -> None:
    hashes = {
        (await cinema.inspect(films.film(codec=codec, container="mkv"))).blurhash[:6]
        for codec in ("h264", "vp9", "av1")
    }

    assert len(hashes) == 1


async def test_what_moves_is_another_ones_work(
    cells: Cells, codecs: FilmCodecs, tmp_path: Path
) -> None:
    source = tmp_path / "film"
    source.write_bytes(films.film())
    moving = FilmRecipe(short_side=360, frame_rate=30)

    with pytest.raises(DecoderUnavailable):
        await codecs.develop(source, format=Format.MP4, targets=[(moving, tmp_path / "out")])

    class Maker:
        async def develop(self, source: Path, **asked: object) -> list[tuple[int, int]]:
            self.asked = [recipe for recipe, _ in asked["targets"]]  # type: ignore[attr-defined]
            return [(320, 180)]

    maker = Maker()
    targets: list[tuple[Recipe, Path]]
    targets = [(SQUARE, tmp_path / "square"), (moving, tmp_path / "out")]
    both = FilmCodecs(cells, maker)

    assert await both.develop(source, format=Format.MP4, targets=targets) == [(60, 60), (320, 180)]
    assert maker.asked == [moving]


async def test_the_place_in_a_descriptor_that_others_have_is_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "film"
    source.write_bytes(films.film())
    descriptor = os.open(source, os.O_RDONLY)
    try:
        os.lseek(descriptor, 17, os.SEEK_SET)
        assert inspect(descriptor, format=Format.MP4).has_video
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 17
    finally:
        os.close(descriptor)
