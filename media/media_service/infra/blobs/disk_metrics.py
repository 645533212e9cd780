"""What the disk tells Prometheus when it asks."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from prometheus_client import Gauge

_FREE = Gauge("mediad_storage_free_bytes", "Room on the disk of blobs and staging")
_SIZE = Gauge("mediad_storage_size_bytes", "Size of the disk of blobs and staging")
_STAGED = Gauge("mediad_staging_bytes", "Bytes that wait until they are known to be good")


def watch_disk(staging: Path) -> None:
    """Tell of this folder, and the disk it lies on, from now on."""
    _FREE.set_function(lambda: shutil.disk_usage(staging).free)
    _SIZE.set_function(lambda: shutil.disk_usage(staging).total)
    _STAGED.set_function(lambda: _bytes_below(staging))


def _bytes_below(folder: Path) -> int:
    """How many bytes its files have; some may go while we look."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(path) / name).stat().st_size
    return total
