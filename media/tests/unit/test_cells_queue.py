from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from media_service.core.errors import DecoderUnavailable
from media_service.infra.codecs.cells.queue import Job, JobKind, JobQueue

INSPECT, DEVELOP = JobKind.INSPECT, JobKind.DEVELOP


def a_job(kind: JobKind = INSPECT) -> Job:
    answer = asyncio.get_running_loop().create_future()
    return Job(kind=kind, request={}, source=Path(), targets=(), answer=answer)


async def a_queue(*jobs: Job, cells: int = 4) -> JobQueue:
    queue = JobQueue(cells=cells)
    for job in jobs:
        await queue.put(job)
    return queue


async def is_idle(queue: JobQueue) -> bool:
    try:
        async with asyncio.timeout(0.01):
            await queue.take()
    except TimeoutError:
        return True
    return False


async def test_inspections_go_before_developments() -> None:
    development, inspection = a_job(DEVELOP), a_job(INSPECT)

    queue = await a_queue(development, inspection)

    assert await queue.take() is inspection
    assert await queue.take() is development


async def test_equals_go_in_order() -> None:
    jobs = [a_job() for _ in range(3)]

    queue = await a_queue(*jobs)

    assert [await queue.take() for _ in jobs] == jobs


async def test_inspections_without_end_do_not_stop_developments() -> None:
    development = a_job(DEVELOP)

    queue = await a_queue(development, *(a_job() for _ in range(10)))

    assert development in [await queue.take() for _ in range(4)]


@pytest.mark.parametrize(("cells", "most"), [(1, 1), (2, 1), (3, 2), (8, 7)])
async def test_developments_leave_one_cell_free(cells: int, most: int) -> None:
    queue = await a_queue(*(a_job(DEVELOP) for _ in range(10)), cells=cells)

    for _ in range(most):
        await queue.take()

    assert await is_idle(queue)


async def test_the_next_development_goes_when_one_is_done() -> None:
    first, second = a_job(DEVELOP), a_job(DEVELOP)
    queue = await a_queue(first, second, cells=2)
    await queue.take()
    taking = asyncio.create_task(queue.take())
    await asyncio.sleep(0)

    await queue.done(first)

    assert await taking is second


async def test_what_is_put_back_goes_first() -> None:
    first, second = a_job(DEVELOP), a_job(DEVELOP)
    queue = await a_queue(first, second, cells=2)

    await queue.put_back(await queue.take())

    assert await queue.take() is first


async def test_whose_caller_has_gone_is_passed_over() -> None:
    gone, here = a_job(), a_job()
    queue = await a_queue(gone, here)

    gone.answer.cancel()

    assert len(queue) == 1
    assert await queue.take() is here


async def test_all_that_wait_can_be_refused() -> None:
    jobs = [a_job(), a_job(DEVELOP), a_job()]
    queue = await a_queue(*jobs)
    jobs[0].answer.cancel()

    queue.refuse_all(DecoderUnavailable())

    assert len(queue) == 0
    for job in jobs[1:]:
        with pytest.raises(DecoderUnavailable):
            await job.answer
