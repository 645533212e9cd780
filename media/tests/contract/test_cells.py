from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from media_service.core.errors import (
    BrokenFile,
    DecoderUnavailable,
    MediaError,
    StorageUnavailable,
    TooComplex,
)
from media_service.infra.codecs.cells import wire
from media_service.infra.codecs.cells.cell import Cell, CellDied, Death
from media_service.infra.codecs.cells.pool import Cells
from media_service.infra.codecs.cells.queue import JobKind
from prometheus_client import REGISTRY

INSPECT, DEVELOP = JobKind.INSPECT, JobKind.DEVELOP
LIMITS = {INSPECT: 1.5, DEVELOP: 1.5}


@contextlib.asynccontextmanager
async def opened(*, size: int = 1, **options: int) -> AsyncIterator[Cells]:
    async with Cells(
        "contract.misbehaving_cell", size=size, time_limits=LIMITS, **options
    ) as cells:
        yield cells


@pytest.fixture
async def cells() -> AsyncIterator[Cells]:
    async with opened() as cells:
        yield cells


async def ask(
    cells: Cells,
    act: str,
    *,
    source: Path,
    kind: JobKind = INSPECT,
    targets: Sequence[Path] = (),
) -> wire.Message:
    return await cells.run(kind, {"act": act}, source=source, targets=targets)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_text("hello")
    return path


def deaths(reason: str) -> float:
    return REGISTRY.get_sample_value("mediad_cell_deaths_total", {"reason": reason}) or 0


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def children() -> set[str]:
    """The process ids of those this thread has started."""
    return set(Path("/proc/thread-self/children").read_text().split())


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(5):
        while is_running(pid):
            await asyncio.sleep(0.01)


async def test_a_cell_reads_the_source_and_writes_the_targets(cells: Cells, source: Path) -> None:
    targets = [source.with_name("one"), source.with_name("two")]

    answer = await ask(cells, "answer", source=source, targets=targets)

    assert answer["said"] == "hello"
    assert [target.read_text() for target in targets] == ["HELLO", "HELLO"]


async def test_a_cell_is_kept_warm(cells: Cells, source: Path) -> None:
    answers = [await ask(cells, "answer", source=source) for _ in range(5)]

    assert {answer["pid"] for answer in answers} == cells.pids()


async def test_a_cell_is_replaced_after_its_last_job(source: Path) -> None:
    async with opened(jobs_per_cell=2) as cells:
        pids = [(await ask(cells, "answer", source=source))["pid"] for _ in range(5)]

    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


@pytest.mark.parametrize(
    ("act", "reason", "error"),
    [
        ("sleep", "timeout", TooComplex),
        ("abort", "memory", TooComplex),
        ("crash", "crash", BrokenFile),
        ("leave", "exit", TooComplex),
        ("babble", "exit", TooComplex),
    ],
)
async def test_a_death_is_one_refused_file(
    cells: Cells, source: Path, act: str, reason: str, error: type[MediaError]
) -> None:
    before = deaths(reason)

    with pytest.raises(error):
        await ask(cells, act, source=source)

    assert deaths(reason) == before + 1
    assert (await ask(cells, "answer", source=source))["said"] == "hello"


async def test_a_cell_that_uses_up_its_processor_time_is_killed_by_the_system(
    source: Path,
) -> None:
    cell = await Cell.start("contract.misbehaving_cell")
    with source.open() as opened:
        request = {"kind": "inspect", "act": "burn", "cpu_seconds": 0.1}

        with pytest.raises(CellDied) as death:
            await cell.ask(request, files=[opened.fileno()])

    assert death.value.reason is Death.CPU


async def test_a_cell_may_not_eat_all_memory(cells: Cells, source: Path) -> None:
    answer = await ask(cells, "eat", source=source)

    assert answer["error"] == "TooComplex"


@pytest.mark.parametrize(
    ("act", "error"),
    [("refuse", "TooManyPixels"), ("surprise", "BrokenFile"), ("fill disk", "StorageFull")],
)
async def test_an_exception_in_a_cell_is_an_answer(
    cells: Cells, source: Path, act: str, error: str
) -> None:
    pids = cells.pids()

    answer = await ask(cells, act, source=source)

    assert answer["error"] == error
    assert answer["is_expected"] is (act != "surprise")
    assert cells.pids() == pids


async def test_a_cell_killed_at_work_is_one_refused_file(cells: Cells, source: Path) -> None:
    asking = asyncio.create_task(ask(cells, "sleep", source=source))
    await asyncio.sleep(0.1)

    for pid in cells.pids():
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(TooComplex):
        await asking
    assert (await ask(cells, "answer", source=source))["said"] == "hello"


async def test_a_cell_killed_while_idle_harms_nobody(cells: Cells, source: Path) -> None:
    (pid,) = cells.pids()
    os.kill(pid, signal.SIGKILL)
    await until_gone(pid)

    answer = await ask(cells, "answer", source=source)

    assert answer["said"] == "hello"


async def test_a_request_that_makes_no_sense_is_its_callers_bug(cells: Cells, source: Path) -> None:
    with pytest.raises(TypeError):
        await cells.run(INSPECT, {"act": object()}, source=source)

    assert (await ask(cells, "answer", source=source))["said"] == "hello"


async def test_a_closed_pool_takes_nothing(source: Path) -> None:
    async with opened() as cells:
        pass

    with pytest.raises(DecoderUnavailable):
        await ask(cells, "answer", source=source)


@pytest.mark.parametrize("act", ["wait", "sleep"])
async def test_an_answer_nobody_waits_for_reaches_nobody_else(
    cells: Cells, source: Path, act: str
) -> None:
    other = source.with_name("other")
    other.write_text("other")
    asking = asyncio.create_task(ask(cells, act, source=source))
    await asyncio.sleep(0.1)

    asking.cancel()

    assert (await ask(cells, "answer", source=other))["said"] == "other"
    assert asking.cancelled()


async def test_a_short_job_nobody_waits_for_keeps_its_cell(cells: Cells, source: Path) -> None:
    pids = cells.pids()
    asking = asyncio.create_task(ask(cells, "wait", source=source))
    await asyncio.sleep(0.1)

    asking.cancel()

    assert (await ask(cells, "answer", source=source))["pid"] in pids


async def test_a_crowd_is_refused(source: Path) -> None:
    async with opened(max_waiting=3) as cells:
        waiting = []
        for _ in range(4):
            waiting.append(asyncio.create_task(ask(cells, "wait", source=source)))
            await asyncio.sleep(0.02)

        with pytest.raises(DecoderUnavailable):
            await ask(cells, "answer", source=source)
        assert REGISTRY.get_sample_value("mediad_cell_waiting", {"cell": "misbehaving_cell"}) == 3
        assert [answer["said"] for answer in await asyncio.gather(*waiting)] == ["hello"] * 4


async def test_developments_leave_a_cell_to_inspections(source: Path) -> None:
    async with opened(size=2) as cells:
        developments = [
            asyncio.create_task(ask(cells, "sleep", source=source, kind=DEVELOP)) for _ in range(2)
        ]
        await asyncio.sleep(0.05)

        async with asyncio.timeout(20):
            await ask(cells, "answer", source=source)

        for development in developments:
            development.cancel()


async def test_a_cell_more_is_started_when_jobs_wait_and_stays(source: Path) -> None:
    async with opened(size=2, warm=1) as cells:
        first = cells.pids()
        one_by_one = {(await ask(cells, "answer", source=source))["pid"] for _ in range(3)}
        assert one_by_one == cells.pids() == first

        busy = asyncio.create_task(ask(cells, "sleep", source=source, kind=DEVELOP))
        await asyncio.sleep(0.05)
        answers = [await ask(cells, "answer", source=source) for _ in range(2)]

        assert {answer["pid"] for answer in answers}.isdisjoint(first)
        assert len(cells.pids()) == 2
        busy.cancel()


async def test_no_more_cells_are_started_than_there_may_be(source: Path) -> None:
    async with opened(size=2, warm=1) as cells:
        answers = await asyncio.gather(*(ask(cells, "answer", source=source) for _ in range(9)))

        assert {answer["said"] for answer in answers} == {"hello"}
        assert len(cells.pids() | {answer["pid"] for answer in answers}) <= 2


async def test_a_pool_that_closes_leaves_no_cell_half_started(source: Path) -> None:
    before = children()
    async with opened(size=2, warm=1) as cells:
        asking = [asyncio.create_task(ask(cells, "sleep", source=source)) for _ in range(2)]
        while len(children() - before) < 2:
            await asyncio.sleep(0)
        assert len(cells.pids()) == 1

    for refused in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(refused, DecoderUnavailable)
    assert children() == before


async def test_a_missing_source_is_no_fault_of_the_file(cells: Cells, source: Path) -> None:
    with pytest.raises(StorageUnavailable):
        await ask(cells, "answer", source=source.with_name("missing"))


async def test_what_is_under_way_when_the_pool_closes_is_refused(source: Path) -> None:
    async with opened() as cells:
        asking = [asyncio.create_task(ask(cells, "sleep", source=source)) for _ in range(3)]
        await asyncio.sleep(0.1)
        pids = cells.pids()

    for task in asking:
        with pytest.raises(DecoderUnavailable):
            await task
    assert not any(is_running(pid) for pid in pids)


async def test_no_file_stays_open(cells: Cells, source: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))

    for act in ("answer", "refuse", "leave", "answer") * 3:
        with contextlib.suppress(MediaError):
            await ask(cells, act, source=source, targets=[source.with_name("target")])

    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_cells_that_cannot_start_say_so() -> None:
    with pytest.raises(CellDied):
        async with Cells("contract.no_such_cell", size=2):
            pass


async def test_cells_die_with_a_killed_parent() -> None:
    script = (
        "import asyncio\n"
        "from media_service.infra.codecs.cells.pool import Cells\n"
        "async def main():\n"
        "    async with Cells('contract.misbehaving_cell', size=2) as cells:\n"
        "        print(*cells.pids(), flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=_environment()
    ) as parent:
        assert parent.stdout
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()

    assert len(pids) == 2
    for pid in pids:
        await until_gone(pid)


_ATTEMPTS = """
import encodings.idna, json, os, socket
from pathlib import Path
from media_service.infra.codecs.cells.confinement import confine

def attempt(act):
    try:
        act()
    except OSError as error:
        return type(error).__name__
    return "done"

active = confine(os.getppid())
print(json.dumps({"active": active, "attempts": {
    "read": attempt(lambda: Path("/etc/passwd").read_text()),
    "write": attempt(lambda: Path("/tmp/outside").write_text("x")),
    "list": attempt(lambda: os.listdir("/")),
    "run": attempt(lambda: os.execv("/bin/true", ["true"])),
    "connect": attempt(lambda: socket.create_connection(("127.0.0.1", %d), 1)),
    "listen": attempt(lambda: socket.create_server(("127.0.0.1", 0))),
    "signal": attempt(lambda: os.kill(os.getppid(), 0)),
}}))
"""


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


async def test_a_confined_process_reaches_nothing() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ATTEMPTS % port, stdout=subprocess.PIPE, env=_environment()
    )
    output, _ = await process.communicate()
    server.close()

    told = json.loads(output)
    if not any(name.startswith("landlock") for name in told["active"]):
        pytest.skip("this kernel has no Landlock")
    refused = {name for name, outcome in told["attempts"].items() if outcome != "done"}
    assert {"read", "write", "list", "run", "connect", "listen"} <= refused


async def test_the_sandbox_is_told(cells: Cells) -> None:
    assert {"rlimits", "no-new-privileges"} <= set(cells.sandbox())
