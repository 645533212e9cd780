"""Coming in, staying and leaving, on rows in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher
from user_fakes.clock import Clock
from user_fakes.in_memory_rows import InMemoryRows
from user_service import errors
from user_service.accounts import UNUSED_SESSION, Accounts, Admission
from user_service.identity import Identifying
from user_service.keys import OwnKey, OwnKeys
from user_service.passwords import Passwords
from user_service.ports import Allowance
from user_service.throttling import Allowances, Throttling
from user_service.tokens import AccessTokens, TokenVerifier, own_issuer

PASSWORD = "a quiet green harbour"
HOME = "192.0.2.7"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
KEYS = (OwnKey("k1", b"k" * 64),)
QUARTER = timedelta(minutes=15)


class House:
    """Accounts with everything they need."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.rows = InMemoryRows(self.clock)
        self.passwords = Passwords(threads=2, hasher=QUICK)
        allowances = Allowances(
            logins_per_username=Allowance(count=5, per=QUARTER),
            logins_per_address=Allowance(count=8, per=QUARTER),
            registrations_per_address=Allowance(count=3, per=QUARTER),
            uploads_per_user=Allowance(count=2, per=QUARTER),
            attachments_per_user=Allowance(count=2, per=QUARTER),
        )
        tokens = AccessTokens(
            KEYS, issuer="userd", audience="userd", lifetime=QUARTER, clock=_system_clock
        )
        self.throttling = Throttling(self.rows.throttles, allowances)
        self.accounts = Accounts(
            accounts=self.rows.accounts,
            sessions=self.rows.sessions,
            passwords=self.passwords,
            throttling=self.throttling,
            tokens=tokens,
            clock=self.clock,
        )
        self.identifying = Identifying(
            verifier=TokenVerifier(own_issuer("userd", audience="userd", keys=OwnKeys(KEYS))),
            sessions=self.rows.sessions,
            clock=self.clock,
        )

    async def register(self, name: str = "ada") -> Admission:
        return await self.accounts.register(name, PASSWORD, address=HOME)

    async def log_in(
        self, name: str = "ada", password: str = PASSWORD, address: str = HOME
    ) -> Admission:
        return await self.accounts.log_in(name, password, address=address)

    async def is_in(self, admission: Admission) -> bool:
        try:
            return await self.identifying.identify(admission.access_token) == admission.user_id
        except errors.Unauthenticated:
            return False


def _system_clock() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def house() -> House:
    return House()


async def test_who_registers_is_in_and_can_come_again(house: House) -> None:
    first = await house.register()
    again = await house.log_in()
    assert first.user_id == again.user_id
    assert await house.is_in(first)
    assert await house.is_in(again)


async def test_a_name_is_one_however_it_is_typed(house: House) -> None:
    first = await house.register("Ada")
    assert (await house.log_in("ａＤａ")).user_id == first.user_id
    with pytest.raises(errors.UsernameTaken):
        await house.register("ADA")


async def test_a_password_is_one_however_it_is_composed(house: House) -> None:
    await house.accounts.register("ada", "cafe\u0301 au lait!", address=HOME)
    assert await house.log_in(password="caf\u00e9 au lait!")


@pytest.mark.parametrize(
    "name", ["ad", "a" * 33, "-ada", "ada.", "a da", "ада", "a\0da", "a/b", ""]
)
async def test_names_that_could_be_something_else_are_refused(house: House, name: str) -> None:
    with pytest.raises(errors.InvalidUsername):
        await house.register(name)


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("1234567", errors.InvalidPassword),
        ("x1" * 65, errors.InvalidPassword),
        ("abcdefg\0hij", errors.InvalidPassword),
        ("\ud800" * 9, errors.InvalidPassword),
        ("password", errors.PasswordTooCommon),
        ("P@ssw0rd2024!", errors.PasswordTooCommon),
        ("qwertyuiop", errors.PasswordTooCommon),
        ("87654321", errors.PasswordTooCommon),
        ("aaaaaaaaaa", errors.PasswordTooCommon),
        ("abcabcabcabc", errors.PasswordTooCommon),
        ("adalovelace1", errors.PasswordTooCommon),
    ],
)
async def test_passwords_that_are_tried_first_are_refused(
    house: House, password: str, expected: type[errors.UserError]
) -> None:
    with pytest.raises(expected):
        await house.accounts.register("adalovelace", password, address=HOME)


async def test_passwords_of_128_characters_are_taken(house: House) -> None:
    long = "pärchen " * 16
    await house.accounts.register("ada", long, address=HOME)
    assert await house.log_in(password=long)
    with pytest.raises(errors.InvalidCredentials):
        await house.log_in(password=long + "x")


async def test_wrong_names_and_wrong_passwords_are_the_same_answer(house: House) -> None:
    await house.register()
    said = set()
    wrong = [("ada", "wrong password"), ("bob", PASSWORD), ("../x", "y"), ("ada", "z" * 900)]
    for name, password in wrong:
        with pytest.raises(errors.InvalidCredentials) as caught:
            await house.log_in(name, password)
        said.add((caught.value.code, str(caught.value)))
    assert len(said) == 1


async def test_a_disabled_account_is_out_at_once(house: House) -> None:
    admission = await house.register()
    house.rows.accounts.disable("ada")
    assert not await house.is_in(admission)
    with pytest.raises(errors.InvalidCredentials):
        await house.log_in()
    with pytest.raises(errors.InvalidRefreshToken):
        await house.accounts.refresh(admission.refresh_token)


async def test_refreshing_goes_on_and_on(house: House) -> None:
    admission = await house.register()
    for _ in range(3):
        house.clock.move(timedelta(days=20))
        admission = await house.accounts.refresh(admission.refresh_token)
    assert await house.is_in(admission)


async def test_an_unused_refresh_token_ends(house: House) -> None:
    admission = await house.register()
    house.clock.move(UNUSED_SESSION)
    with pytest.raises(errors.InvalidRefreshToken):
        await house.accounts.refresh(admission.refresh_token)


async def test_reuse_ends_the_session_and_its_access_tokens_but_no_other(house: House) -> None:
    stolen, other = await house.register(), await house.log_in()
    renewed = await house.accounts.refresh(stolen.refresh_token)
    with pytest.raises(errors.InvalidRefreshToken):
        await house.accounts.refresh(stolen.refresh_token)
    assert not await house.is_in(renewed)
    with pytest.raises(errors.InvalidRefreshToken):
        await house.accounts.refresh(renewed.refresh_token)
    assert await house.is_in(other)


async def test_logging_out_ends_the_session(house: House) -> None:
    admission = await house.register()
    await house.accounts.log_out(admission.refresh_token)
    await house.accounts.log_out(admission.refresh_token)
    await house.accounts.log_out("nonsense \ud800")
    assert not await house.is_in(admission)


async def test_refresh_tokens_are_not_kept(house: House) -> None:
    admission = await house.register()
    assert admission.refresh_token not in repr(vars(house.rows.sessions))


async def test_attempts_at_a_name_run_out_from_wherever_they_come(house: House) -> None:
    await house.register()
    for n in range(5):
        with pytest.raises(errors.InvalidCredentials):
            await house.log_in(password="wrong", address=f"192.0.2.{n}")
    with pytest.raises(errors.TooManyAttempts) as caught:
        await house.log_in(address="192.0.2.99")
    assert 0 < caught.value.retry_after_seconds <= 180
    house.clock.move(timedelta(seconds=caught.value.retry_after_seconds))
    assert await house.log_in(address="192.0.2.99")


async def test_attempts_from_an_address_run_out_whatever_the_names(house: House) -> None:
    for n in range(8):
        with pytest.raises(errors.InvalidCredentials):
            await house.log_in(f"user{n}")
    with pytest.raises(errors.TooManyAttempts):
        await house.log_in("user9")


async def test_all_addresses_of_one_ipv6_network_are_one(house: House) -> None:
    for n in range(8):
        with pytest.raises(errors.InvalidCredentials):
            await house.log_in(f"user{n}", address=f"2001:db8::{n}")
    with pytest.raises(errors.TooManyAttempts):
        await house.log_in("user9", address="2001:db8::ffff")
    with pytest.raises(errors.InvalidCredentials):
        await house.log_in("user9", address="2001:db8:0:1::1")


async def test_logins_that_succeed_do_not_count(house: House) -> None:
    await house.register()
    for _ in range(20):
        await house.log_in()


async def test_names_that_do_not_exist_run_out_alike(house: House) -> None:
    for _ in range(5):
        with pytest.raises(errors.InvalidCredentials):
            await house.log_in("nobody")
    with pytest.raises(errors.TooManyAttempts):
        await house.log_in("nobody")


async def test_registrations_from_an_address_run_out(house: House) -> None:
    for n in range(3):
        await house.register(f"user{n}")
    with pytest.raises(errors.TooManyRegistrations):
        await house.register("user9")


async def test_an_outdated_hash_is_renewed_at_login(house: House) -> None:
    await house.register()
    before = house.rows.accounts.rows["ada"].password_hash
    stronger = Passwords(
        threads=1, hasher=PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)
    )
    house.accounts._passwords = stronger
    await house.log_in()
    after = house.rows.accounts.rows["ada"].password_hash
    assert before != after
    assert not stronger.is_outdated(after)
    assert await house.log_in()
