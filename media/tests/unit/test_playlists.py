from __future__ import annotations

from pathlib import Path

import pytest
from media_service.core.errors import BrokenFile
from media_service.infra.codecs.films.playlists import (
    Rung,
    Segment,
    master_playlist,
    read_rung,
    rung_playlist,
)

HEADER = b"\0\0\0\x14ftyp" + b"avcC\x01\x64\x00\x1f" + b"esds"
MADE = f"""#EXTM3U
#EXT-X-MAP:URI="360.mp4",BYTERANGE="{len(HEADER)}@0"
#EXTINF:4.000000,
#EXT-X-BYTERANGE:1000@{len(HEADER)}
360.mp4
#EXTINF:1.500000,
#EXT-X-BYTERANGE:500@{len(HEADER) + 1000}
360.mp4
#EXT-X-ENDLIST
"""


def read(folder: Path, playlist: str = MADE, content: bytes = HEADER + bytes(1500)) -> Rung:
    (folder / "p").write_text(playlist)
    (folder / "s").write_bytes(content)
    return read_rung(folder / "p", folder / "s", short_side=360, size=(640, 360), frame_rate=30.0)


def test_a_rung_is_read_as_it_was_made(tmp_path: Path) -> None:
    rung = read(tmp_path)

    assert rung.codecs == "avc1.64001f,mp4a.40.2"
    assert rung.segments == (
        Segment(4.0, 1000, len(HEADER)),
        Segment(1.5, 500, len(HEADER) + 1000),
    )
    assert (rung.peak_bandwidth, rung.average_bandwidth) == (2667, 2182)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("#EXT-X-MAP", "#EXT-X-NAP"),
        ("1000@", "1001@"),
        ("500@", "5000@"),
        ("1000@", "0@"),
        ("#EXTINF:4.000000", "#EXTINF:-4"),
        (f'"{len(HEADER)}@0"', '"99999999@0"'),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(BrokenFile):
        read(tmp_path, MADE.replace(old, new))


def test_a_file_that_is_shorter_than_its_segments_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile):
        read(tmp_path, content=HEADER + bytes(1499))


def test_a_file_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile):
        read(tmp_path, content=bytes(len(HEADER) + 1500))


def test_playlists_name_renditions(tmp_path: Path) -> None:
    rung = read(tmp_path)

    assert rung_playlist(rung).splitlines()[2:] == [
        "#EXT-X-TARGETDURATION:4",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="hls-360-segments",BYTERANGE="{len(HEADER)}@0"',
        "#EXTINF:4.000000,",
        f"#EXT-X-BYTERANGE:1000@{len(HEADER)}",
        "hls-360-segments",
        "#EXTINF:1.500000,",
        f"#EXT-X-BYTERANGE:500@{len(HEADER) + 1000}",
        "hls-360-segments",
        "#EXT-X-ENDLIST",
    ]
    assert master_playlist([rung]).splitlines()[-1] == "hls-360"
