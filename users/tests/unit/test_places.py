"""Places for uploads: who gets one when all are taken, and at whose expense."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from typing import Any

import pytest
from starlette.requests import Request
from user_service.errors import Busy, TooManyUploads, UploadGaveWay, UploadStalled
from user_service.http_api import places
from user_service.http_api.bodies import Arrival, Pace
from user_service.http_api.places import Places
from user_service.records import UserId

ADA, BOB, CYD, DOT = (UserId(name) for name in ("ada", "bob", "cyd", "dot"))
ANY_SPEED, NO_SPEED = 0, 10**12


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "GRACE_SECONDS", 0.0)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def four(wanted: int = ANY_SPEED, of_one: int = 3) -> Places:
    return Places(4, of_one=of_one, pace=Pace(wanted_bytes_per_second=wanted))


def gone(*arrivals: Arrival) -> list[bool]:
    return [arrival.has_to_go for arrival in arrivals]


async def test_a_share_is_taken_from_whoever_has_most_and_there_the_slowest(
    stack: ExitStack,
) -> None:
    all_of_them = four()
    taken = [stack.enter_context(all_of_them.taken(user)) for user in (ADA, BOB, BOB, BOB)]
    for arrival, received in zip(taken, (0, 300, 200, 100), strict=True):
        arrival.received = received
    stack.enter_context(all_of_them.taken(CYD))
    assert gone(*taken) == [False, False, False, True]


async def test_equal_shares_stay_as_they_are(stack: ExitStack) -> None:
    all_of_them = four()
    taken = [stack.enter_context(all_of_them.taken(user)) for user in (ADA, ADA, BOB, CYD)]
    for user in (BOB, CYD, DOT):
        with pytest.raises(Busy) if user is not DOT else nullcontext():
            all_of_them.check(user)
    stack.enter_context(all_of_them.taken(DOT))
    assert gone(*taken).count(True) == 1
    with pytest.raises(Busy):
        all_of_them.check(ADA)


async def test_who_is_alone_gives_way_only_if_slow(stack: ExitStack) -> None:
    for wanted, is_busy in ((ANY_SPEED, True), (NO_SPEED, False)):
        one = Places(1, of_one=1, pace=Pace(wanted_bytes_per_second=wanted))
        first = stack.enter_context(one.taken(ADA))
        if is_busy:
            with pytest.raises(Busy):
                one.check(BOB)
        else:
            stack.enter_context(one.taken(BOB))
        assert first.has_to_go is not is_busy


async def test_who_has_a_place_already_sends_no_slow_one_away(stack: ExitStack) -> None:
    all_of_them = Places(2, of_one=2, pace=Pace(wanted_bytes_per_second=NO_SPEED))
    taken = [stack.enter_context(all_of_them.taken(user)) for user in (ADA, BOB)]
    with pytest.raises(Busy):
        stack.enter_context(all_of_them.taken(BOB))
    assert gone(*taken) == [False, False]


async def test_nobody_s_only_one_goes_before_it_had_time(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "GRACE_SECONDS", 60.0)
    two = Places(2, of_one=2, pace=Pace(wanted_bytes_per_second=NO_SPEED))
    first = [stack.enter_context(two.taken(ADA)) for _ in range(2)]
    with two.taken(BOB):
        assert gone(*first) == [True, False], "a share is due at once"
        with pytest.raises(Busy):
            two.check(CYD)


async def test_nobody_goes_whose_body_is_here(stack: ExitStack) -> None:
    all_of_them = four(NO_SPEED)
    for user in (ADA, ADA, ADA, BOB):
        stack.enter_context(all_of_them.taken(user)).is_whole = True
    with pytest.raises(Busy):
        all_of_them.check(CYD)


async def test_one_person_has_so_many_even_when_there_is_room(stack: ExitStack) -> None:
    all_of_them = four(of_one=1)
    stack.enter_context(all_of_them.taken(ADA))
    with pytest.raises(TooManyUploads):
        stack.enter_context(all_of_them.taken(ADA))


async def test_looking_sends_nobody_away_and_leaving_makes_room(stack: ExitStack) -> None:
    one = Places(1, of_one=1, pace=Pace(wanted_bytes_per_second=NO_SPEED))
    with one.taken(ADA) as arrival:
        one.check(BOB)
        assert not arrival.has_to_go
    with one.taken(BOB) as arrival:
        assert not arrival.has_to_go


class Sent:
    """A client that sends these pieces, then nothing more."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def request(self) -> Request:
        return Request({"type": "http"}, self._receive)

    async def _receive(self) -> dict[str, Any]:
        if not self._pieces:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": self._pieces.pop(0), "more_body": True}


class TestArrivals:
    async def test_waiting_ends_when_others_want_the_place(self) -> None:
        arrival = Arrival(Pace())
        pieces = arrival.pieces(Sent(b"a").request())
        assert await anext(pieces) == b"a"
        going = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0)
        arrival.make_way()
        with pytest.raises(UploadGaveWay):
            await going

    async def test_what_comes_after_that_is_not_read(self) -> None:
        arrival = Arrival(Pace())
        pieces = arrival.pieces(Sent(b"a", b"b").request())
        assert await anext(pieces) == b"a"
        arrival.make_way()
        with pytest.raises(UploadGaveWay):
            await anext(pieces)

    async def test_standing_still_ends_it_even_as_others_come(self) -> None:
        arrival = Arrival(Pace(idle_seconds=0))
        going = asyncio.ensure_future(anext(arrival.pieces(Sent().request())))
        for _ in range(2):  # it waits; its time is over, and it does not know yet
            await asyncio.sleep(0)
        arrival.make_way()
        with pytest.raises((UploadStalled, UploadGaveWay)):
            await going

    async def test_the_time_it_waits_right_now_counts(self) -> None:
        arrival = Arrival(Pace())
        assert arrival.waited == 0
        going = asyncio.ensure_future(anext(arrival.pieces(Sent().request())))
        await asyncio.sleep(0.01)
        assert arrival.waited > 0
        arrival.make_way()
        with pytest.raises(UploadGaveWay):
            await going
