"""How ffmpeg makes all rungs of an HLS stream, and a preview beside them, from one decode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from media_service.core.recipes import PictureRecipe, even_size
from media_service.infra.codecs.films.description import Film, Size
from media_service.infra.codecs.films.plans import (
    NO_METADATA,
    clean_h264,
    h264,
    input_arguments,
    picture_chain,
    preview_chain,
    preview_output,
    sound_arguments,
)

SEGMENT_SECONDS: Final = 4

# Every rung sees the same frames at the same times, so all have their key frames at the same ones,
# and no others.
_KEY_FRAMES: Final = (
    *(
        "-force_key_frames:v",
        f"expr:if(isnan(prev_forced_t),1,gte(t,prev_forced_t+{SEGMENT_SECONDS}))",
    ),
    *("-sc_threshold:v", "0", "-g:v", "9999"),
)
# Without `skip_sidx` ffmpeg begins each segment where the last ended, however long frames stayed.
_HLS: Final = (
    *("-f", "hls", "-hls_segment_type", "fmp4", "-hls_time", str(SEGMENT_SECONDS)),
    *("-hls_segment_options", "movflags=+skip_sidx"),
    *("-hls_flags", "single_file+independent_segments", "-hls_list_size", "0"),
    *("-hls_playlist_type", "vod"),
)


def rung_files(rung: int) -> tuple[str, str]:
    """The names of a rung's playlist and segments in the program's folder."""
    return f"{rung}.m3u8", f"{rung}.mp4"


def rung_size(film: Film, rung: int) -> Size:
    """Width and height of a rung's pictures."""
    return even_size(film.width, film.height, short_side=rung)


def stream_arguments(
    film: Film,
    rungs: Sequence[int],
    *,
    frame_rate: int,
    preview: tuple[PictureRecipe, str] | None = None,
) -> list[str]:
    """The arguments that make every rung, and the preview into the file named with it."""
    graph = _rungs_graph(film, sorted(rungs, reverse=True), frame_rate=frame_rate)
    outputs = [word for rung in rungs for word in _rung_output(film, rung, frame_rate=frame_rate)]
    if preview:
        recipe, output = preview
        chain, _ = preview_chain(film, recipe)
        source = f"[0:{film.stream}]"
        graph = f"{source}split=2[film][still];{graph.replace(source, '[film]')};[still]{chain}[p]"
        outputs += ["-map", "[p]", *preview_output(recipe, output=output)]
    return [*input_arguments(film), "-filter_complex", graph, *outputs]


def _rungs_graph(film: Film, descending: Sequence[int], *, frame_rate: int) -> str:
    """Each rung is scaled down from the one above it."""
    largest, *others = descending
    chain = picture_chain(film, rung_size(film, largest), frame_rate=frame_rate)
    parts = [f"[0:{film.stream}]{chain}"]
    above = largest
    for rung in others:
        width, height = rung_size(film, rung)
        parts[-1] += f",split=2[v{above}][below{above}]"
        parts.append(f"[below{above}]scale={width}:{height},setsar=1")
        above = rung
    parts[-1] += f"[v{above}]"
    return ";".join(parts)


def _rung_output(film: Film, rung: int, *, frame_rate: int) -> list[str]:
    playlist, segments = rung_files(rung)
    return [
        *("-map", f"[v{rung}]", *h264(film, rung_size(film, rung), frame_rate=frame_rate)),
        *(*_KEY_FRAMES, "-fps_mode:v", "vfr", *sound_arguments(film)),
        *(*NO_METADATA, *clean_h264(film, is_stream=True)),
        *(*_HLS, "-hls_segment_filename", segments, playlist),
    ]
