from __future__ import annotations

import pytest
from media_service.core.playlists import with_urls


def _url(name: str) -> str:
    return f"{name}?v=1"


def test_a_name_on_a_line_becomes_its_url() -> None:
    master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhls-360\n"

    assert with_urls(master, _url) == "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhls-360?v=1\n"


def test_a_name_in_a_tag_becomes_its_url() -> None:
    told = '#EXTM3U\n#EXT-X-MAP:URI="hls-360-segments",BYTERANGE="8@0"\n'

    expected = '#EXTM3U\n#EXT-X-MAP:URI="hls-360-segments?v=1",BYTERANGE="8@0"\n'
    assert with_urls(told, _url) == expected


def test_an_attribute_of_another_name_stays() -> None:
    told = '#EXTM3U\n#EXT-X-SESSION-DATA:X-URI="a",LANGUAGE="URI"\n'

    assert with_urls(told, _url) == told


def test_comments_and_empty_lines_stay() -> None:
    assert with_urls("#EXTM3U\n# hls-360\n\n", _url) == "#EXTM3U\n# hls-360\n\n"


def test_lines_may_end_in_either_way() -> None:
    assert with_urls("#EXTM3U\r\nhls-360", _url) == "#EXTM3U\nhls-360?v=1\n"


@pytest.mark.parametrize("text", ["", "hls-360", "#EXT\n", "<html>"])
def test_what_is_no_playlist_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no playlist"):
        with_urls(text, _url)


def test_each_name_is_signed_once_however_many_segments_it_holds() -> None:
    asked: list[str] = []
    segments = "#EXTINF:2,\n#EXT-X-BYTERANGE:9@8\nhls-360-segments\n" * 1000

    def url(name: str) -> str:
        asked.append(name)
        return f"{name}?v=1"

    told = with_urls(f'#EXTM3U\n#EXT-X-MAP:URI="hls-360-segments"\n{segments}', url)

    assert told.count("hls-360-segments?v=1") == 1001
    assert asked == ["hls-360-segments"]
