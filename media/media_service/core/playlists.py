"""Playlists (RFC 8216): as stored they name other renditions, as delivered they hold their URLs."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

_ATTRIBUTE = re.compile(r'(?<=[:,])URI="([^"\r\n]*)"')


def with_urls(playlist: str, url_of: Callable[[str], str]) -> str:
    """The playlist, with each name it holds replaced by `url_of` that name.

    A name stands on a line of its own, or as a tag's `URI="…"`. Each is asked for once, however
    many segments are parts of it. Raises ValueError for what is no playlist, and what `url_of`
    raises.
    """
    url_of = functools.cache(url_of)
    lines = playlist.splitlines()
    if not lines or lines[0] != "#EXTM3U":
        raise ValueError("no playlist")
    return "".join(f"{_with_url(line, url_of)}\n" for line in lines)


def _with_url(line: str, url_of: Callable[[str], str]) -> str:
    if line.startswith("#") and 'URI="' not in line:
        return line
    if line.startswith("#EXT"):
        return _ATTRIBUTE.sub(lambda match: f'URI="{url_of(match[1])}"', line)
    if not line.strip() or line.startswith("#"):
        return line
    return url_of(line.strip())
