"""How far Redis is believed, decided without one."""

from __future__ import annotations

from media_service.core.media import MediaId
from media_service.infra.redis.trust import MAX_OWED, Trust

A, B = MediaId("a"), MediaId("b")


class Ticking:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_it_is_believed_until_it_fails_three_times_in_a_row() -> None:
    trust = Trust(clock=Ticking())

    assert [trust.failed(), trust.failed(), trust.answered()] == [False, False, False]
    assert [trust.failed(), trust.failed()] == [False, False]
    assert trust.may_read

    assert trust.failed()
    assert not trust.may_read
    assert not trust.may_write
    assert trust.has_work.is_set()


def test_when_it_is_back_it_is_written_at_once_but_read_a_second_later() -> None:
    clock = Ticking()
    trust = Trust(clock=clock)
    for _ in range(5):
        trust.failed()

    assert trust.answered()

    assert trust.may_write
    assert not trust.has_work.is_set()
    clock.now += 0.9
    assert not trust.may_read
    clock.now += 0.1
    assert trust.may_read


def test_what_is_owed_anew_while_it_is_being_paid_stays_owed() -> None:
    trust = Trust(clock=Ticking())
    trust.owe([A, B])
    being_paid = trust.owed
    trust.owe([A])

    trust.paid(being_paid)

    assert trust.owes(A)
    assert not trust.owes(B)
    assert trust.has_work.is_set()
    trust.paid(trust.owed)
    assert not trust.has_work.is_set()


def test_what_is_dropped_during_a_renewal_asks_for_another() -> None:
    trust = Trust(clock=Ticking())
    trust.ask_renewal()
    renewal = trust.renewal

    trust.owe([A])
    trust.renewed(renewal)

    assert trust.wants_renewal
    assert not trust.may_read
    trust.renewed(trust.renewal)
    assert trust.may_read
    assert not trust.has_work.is_set()


def test_owing_more_than_can_be_remembered_abandons_everything() -> None:
    trust = Trust(clock=Ticking())
    trust.owe(MediaId(str(number)) for number in range(MAX_OWED))
    assert not trust.wants_renewal

    trust.owe([A])

    assert trust.wants_renewal
    assert trust.owed == {}
