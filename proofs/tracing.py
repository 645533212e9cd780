"""System calls of a running service: listed, counted, failed, or the last it ever makes."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.e2e.processes import Mediad

DURABLE = (
    *(
        "openat",
        "write",
        "pwrite64",
        "writev",
        "fsync",
        "fdatasync",
        "mkdir",
        "fchmod",
        "ftruncate",
    ),
    *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "close"),
)
"""What the threads of the disks do."""
SENDING = ("sendto", "sendmsg", "write", "writev")
"""How the event loop speaks with the database and with callers."""
_ROOT = Path(__file__).parents[1]
_LOOP = "loop"
_ATTACH_SECONDS = 20
_CALL = re.compile(r"^(\d+) +(\w+)\(")
_WAKING = re.compile(r"^\d+ +write\(\d+<(?:anon_inode|pipe)")
"""How threads wake the event loop: of no interest."""


class CountedMediad(Mediad):
    """A service whose system calls can be counted by thread."""

    module = "proofs.counted"

    @property
    def environment(self) -> dict[str, str]:
        """As any service's, wherever it is started."""
        return super().environment | {"PYTHONPATH": str(_ROOT)}

    @property
    def threads(self) -> dict[str, int]:
        """The threads that do what lasts: the disks' and the event loop's."""
        tasks = Path(f"/proc/{self.pid}/task")
        named = {(task / "comm").read_text().strip(): int(task.name) for task in tasks.iterdir()}
        return {n: tid for n, tid in named.items() if n.startswith("disk")} | {_LOOP: self.pid}

    def ends(self, *, within_seconds: float) -> bool:
        """Whether the process ends by itself that soon."""
        deadline = time.monotonic() + within_seconds
        while self.status is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.status is not None


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Step:
    """The n-th of these calls of this thread since it was looked at."""

    thread: str
    call: str
    count: int

    def __str__(self) -> str:
        return f"{self.call} {self.count} of {self.thread}"


@contextlib.contextmanager
def traced(*arguments: str) -> Iterator[None]:
    """Trace what is already running, from the moment the body begins until it ends."""
    strace = subprocess.Popen(
        ["strace", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert strace.stderr
    try:
        deadline = time.monotonic() + _ATTACH_SECONDS
        while "attached" not in strace.stderr.readline():
            if strace.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("strace did not attach")
        yield
    finally:
        strace.send_signal(signal.SIGINT)
        strace.communicate(timeout=_ATTACH_SECONDS)


@contextlib.contextmanager
def recorded(mediad: CountedMediad, log: Path) -> Iterator[list[Step]]:
    """The steps that the service takes while the body runs, in order; filled in when it ends."""
    steps: list[Step] = []
    threads = {tid: name for name, tid in mediad.threads.items()}
    calls = ",".join({*DURABLE, *SENDING})
    with traced("-f", "-y", "-p", str(mediad.pid), "-o", str(log), "-e", f"trace={calls}"):
        yield steps
    for step, line in logged(log):
        name = threads.get(int(step.thread), "")
        wanted = {_LOOP: SENDING, "": ()}.get(name, DURABLE)
        if step.call in wanted and is_lasting(step, line):
            steps.append(dataclasses.replace(step, thread=name))


def logged(log: Path) -> Iterator[tuple[Step, str]]:
    """The steps in a log of `strace -f`, by threads' numbers, and the lines that tell of them."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for line in log.read_text(errors="replace").splitlines():
        if call := _CALL.match(line):
            counts[call[1], call[2]] += 1
            yield Step(call[1], call[2], counts[call[1], call[2]]), line


def is_lasting(step: Step, line: str) -> bool:
    """Whether the step changes the disk or speaks with somebody."""
    return not _WAKING.match(line)


@contextlib.contextmanager
def injected(mediad: CountedMediad, step: Step, effect: str) -> Iterator[None]:
    """Have something happen (`signal=KILL`, `error=EIO`) at this step, if the body comes to it."""
    tid = mediad.threads[step.thread]
    inject = f"inject={step.call}:{effect}:when={step.count}"
    with traced("-p", str(tid), "-o", "/dev/null", "-e", f"trace={step.call}", "-e", inject):
        yield


def sample(steps: Sequence[Step], at_most: int) -> list[Step]:
    """Steps spread over all of them, the first and the last included."""
    if len(steps) <= at_most:
        return list(steps)
    return [steps[n * (len(steps) - 1) // (at_most - 1)] for n in range(at_most)]
