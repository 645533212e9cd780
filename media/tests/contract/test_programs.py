from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import imageio_ffmpeg
import pytest
from media_service.infra.codecs.programs.running import (
    Allowance,
    ProgramFailed,
    ProgramKilled,
    ProgramLate,
    private_folder,
    run_program,
    take_result,
)

FFMPEG = Path(imageio_ffmpeg.get_ffmpeg_exe())
SHELL = Path("/bin/sh")
ENDLESS = ("-f", "lavfi", "-i", "testsrc2", "-preset", "ultrafast", "endless.mkv")


def allowed(**changes: float) -> Allowance:
    limits = {"cpu_seconds": 20, "wall_seconds": 20, "memory_bytes": 2**31, "file_bytes": 2**26}
    return Allowance(**{**limits, **changes})  # type: ignore[arg-type]


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    async with private_folder(tmp_path / "any") as folder:
        yield folder


async def run(
    folder: Path,
    arguments: Sequence[str],
    *,
    program: Path = FFMPEG,
    source: Path | None = None,
    allowance: Allowance | None = None,
) -> list[str]:
    lines: list[str] = []
    await run_program(
        program,
        ["-v", "error", "-nostdin", *arguments] if program == FFMPEG else arguments,
        source=source,
        folder=folder,
        allowance=allowance or allowed(),
        on_line=lines.append,
    )
    return lines


async def shell(folder: Path, script: str) -> list[str]:
    return await run(folder, ["-c", script], program=SHELL)


async def test_a_program_reads_its_source_and_writes_to_its_folder(folder: Path) -> None:
    source = folder.with_name("source")
    source.write_text("hello\n")

    lines = await run(
        folder, ["-c", "read x <&9; echo $x; echo $x > made"], program=SHELL, source=source
    )

    assert lines == ["hello"]
    target = folder.with_name("target")
    take_result(folder / "made", target)
    assert target.read_text() == "hello\n"
    assert (target.stat().st_uid, target.stat().st_mode & 0o777) == (os.geteuid(), 0o600)


@pytest.mark.parametrize("name", ["canary", "/etc/passwd", "/proc/self/environ", "/proc/1/cmdline"])
async def test_a_program_reads_nothing_else(folder: Path, name: str) -> None:
    path = folder.parent / name
    if name == "canary":
        path.write_text("secret\n")
        path.chmod(0o644)

    assert await shell(folder, f"read x < {path}; echo got:$x") == ["got:"]


async def test_a_program_writes_nowhere_else(folder: Path) -> None:
    folder.parent.chmod(0o777)

    with pytest.raises(ProgramFailed, match="ermission denied"):
        await shell(folder, f"echo x > {folder.parent}/outside")

    assert not (folder.parent / "outside").exists()


async def test_a_program_starts_no_other(folder: Path) -> None:
    with pytest.raises(ProgramFailed, match="fork"):
        await shell(folder, "bomb() { bomb | bomb & }; bomb")
    with pytest.raises(ProgramFailed, match="ermission denied"):
        await shell(folder, "exec /bin/true")


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:{port}", "http://127.0.0.1:{port}/"])
async def test_a_program_calls_nobody(folder: Path, url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sink:
        sink.setblocking(False)

        with pytest.raises(ProgramFailed):
            await run(folder, ["-i", url.format(port=sink.getsockname()[1]), "made.mp4"])

        with pytest.raises(BlockingIOError):
            sink.accept()


async def test_links_and_folders_are_no_results(folder: Path) -> None:
    folder.with_name("secret").write_text("secret")
    (folder / "link").symlink_to(folder.with_name("secret"))
    (folder / "hard").hardlink_to(folder.with_name("secret"))
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")

    for name in ("link", "hard", "folder", "pipe"):
        with pytest.raises((ValueError, OSError)):
            take_result(folder / name, folder.with_name("target"))

    assert not folder.with_name("target").exists()


async def test_a_program_that_uses_up_its_time_is_killed(folder: Path) -> None:
    with pytest.raises(ProgramFailed) as failed:
        await run(folder, ENDLESS, allowance=allowed(cpu_seconds=0.2, wall_seconds=100))
    assert failed.value.status == -signal.SIGKILL

    with pytest.raises(ProgramLate):
        await run(folder, [*ENDLESS, "-y"], allowance=allowed(wall_seconds=0.3))


async def test_a_program_that_others_kill_is_not_at_fault(folder: Path) -> None:
    running = asyncio.create_task(run(folder, ENDLESS))
    others = descendants(os.getpid())
    await until_there(folder / "endless.mkv")

    [pid] = [pid for pid in descendants(os.getpid()) if pid not in others]
    os.kill(pid, signal.SIGKILL)

    with pytest.raises(ProgramKilled):
        await running


async def test_a_program_writes_no_more_than_allowed(folder: Path) -> None:
    with pytest.raises(ProgramFailed, match="File too large"):
        await run(folder, ENDLESS, allowance=allowed(file_bytes=2**18))

    assert (folder / "endless.mkv").stat().st_size <= 2**18


async def test_a_program_gets_no_more_memory_than_allowed(folder: Path) -> None:
    with pytest.raises(ProgramFailed):
        await run(folder, ENDLESS, allowance=allowed(memory_bytes=2**27))


async def test_what_is_cancelled_has_ended_within_a_second(tmp_path: Path) -> None:
    others = descendants(os.getpid())
    async with private_folder(tmp_path / "any") as folder:
        running = asyncio.create_task(run(folder, ENDLESS))
        await until_there(folder / "endless.mkv")
        children = [pid for pid in descendants(os.getpid()) if pid not in others]

        started = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert time.monotonic() - started < 1
        assert children
        assert not [pid for pid in children if is_running(pid)]
    assert not list(tmp_path.iterdir())


_PARENT = """
import asyncio
from pathlib import Path
from media_service.infra.codecs.programs.running import Allowance, run_program
allowance = Allowance(cpu_seconds=60, wall_seconds=60, memory_bytes=2**31, file_bytes=2**30)
asyncio.run(run_program(Path({program!r}), {arguments!r}, source=None, folder=Path({folder!r}),
                        allowance=allowance, on_line=print))
"""


async def test_a_program_dies_with_its_parent(folder: Path) -> None:
    script = _PARENT.format(program=str(FFMPEG), arguments=[*ENDLESS], folder=str(folder))
    with subprocess.Popen([sys.executable, "-c", script]) as parent:
        await until_there(folder / "endless.mkv")
        children = descendants(parent.pid)
        assert children

        parent.kill()
        parent.wait()

    await asyncio.sleep(0.2)
    assert not [pid for pid in children if is_running(pid)]


async def until_there(path: Path) -> None:
    async with asyncio.timeout(20):
        while not path.exists():
            await asyncio.sleep(0.02)


def descendants(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == parent and words[0] != "Z":
            found.append(int(status.parent.name))
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
