"""The reference of the upload benchmarks: the same renditions by pyvips alone, in one script.

The best strategy for a JPEG: one decode, already halved; `full` from it, then each square from the
one before. Prints CPU and wall milliseconds for each file named on the command line.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import blurhash
import pyvips
from PIL import Image

BOX = 2048
SQUARES = (600, 300, 150)


def develop(data: bytes) -> None:
    """Make `full`, three squares and a BlurHash, all in memory."""
    half = pyvips.Image.jpegload_buffer(data, shrink=2, fail_on="truncated")
    half = half.autorot().copy_memory()
    scale = min(1.0, BOX / half.width, BOX / half.height)
    full = half.resize(scale) if scale < 1 else half
    full.jpegsave_buffer(Q=92, subsample_mode="on", keep="none")
    source = half.thumbnail_image(SQUARES[0], height=SQUARES[0], crop="attention").copy_memory()
    for side in SQUARES:
        source = source.thumbnail_image(side) if side != source.width else source
        source.jpegsave_buffer(Q=85, keep="none")
    tiny = full.thumbnail_image(100).numpy()[:, :, :3]
    blurhash.encode(Image.fromarray(tiny), 4, 3)


def main() -> None:
    """Measure each file, after one that warms up."""
    pyvips.cache_set_max(0)
    files = [Path(name).read_bytes() for name in sys.argv[1:]]
    develop(files[0])
    measured = []
    for data in files:
        cpu, wall = time.process_time(), time.perf_counter()
        develop(data)
        measured.append([(time.process_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3])
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
