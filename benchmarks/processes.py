"""What processes cost: CPU time and memory of a service with all its children."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil


def tree(pid: int) -> list[psutil.Process]:
    """The process and all that descend from it."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree, with that of children that have ended."""
    total = 0.0
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def own_cpu_seconds(pid: int) -> float:
    """User and system time of this process alone."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def memory_mb(pid: int) -> float:
    """Resident memory of this process alone, in MB."""
    return float(psutil.Process(pid).memory_info().rss / 1024**2)


def peak_memory_mb(pid: int) -> float:
    """The most memory this process ever had, in MB; 0 once it is over."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def tree_memory_mb(pid: int) -> float:
    """Memory of the tree in MB, pages they share counted once."""
    total = 0
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total / 1024**2


class Peak:
    """The most a measure reached while it was watched."""

    def __init__(self, value: float) -> None:
        self.value = value


@contextlib.contextmanager
def watched_memory(pid: int) -> Iterator[Peak]:
    """Samples the process's memory every 5 ms; the peak is in MB."""
    peak, ended = Peak(memory_mb(pid)), threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            peak.value = max(peak.value, memory_mb(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
