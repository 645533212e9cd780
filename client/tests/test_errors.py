"""Failures: the tree, the mapping from gRPC, and that both are total."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from media_client import MediaClient, Retries, errors
from media_client._errors import STATUS
from scripted.service import MEDIA_ID, Attempt, ScriptedService, refuse

ALL = sorted(errors.BY_CODE.values(), key=lambda cls: cls.__name__)
STATUS_CODES = Path(__file__).parents[2] / "docs" / "status-codes.md"


async def raised(service: ScriptedService) -> errors.MediaError:
    """What one attempt at GetMedia raises."""
    async with MediaClient(service.address, retries=Retries(attempts=1)) as media:
        with pytest.raises(errors.MediaError) as caught:
            await media.get_media(MEDIA_ID)
    return caught.value


def test_every_status_means_something() -> None:
    assert set(STATUS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


def test_every_kind_of_failure_in_the_documentation_has_its_status_here() -> None:
    statuses = re.findall(r"^\| [^|]+ \| ([A-Z_]+) \|", STATUS_CODES.read_text(), re.MULTILINE)

    assert len(statuses) > 10
    assert {grpc.StatusCode[name] for name in statuses} <= set(STATUS)


def failures_of_the_service() -> list[Any]:
    """One of each failure that the service knows; kinds are never raised as they are."""
    service = pytest.importorskip("media_service.core.errors")
    classes = [c for c in vars(service).values() if inspect.isclass(c)]
    failures = [c for c in classes if issubclass(c, service.MediaError) and not c.__subclasses__()]
    return [cls() for cls in failures]


def test_every_code_of_the_service_has_a_class_with_its_sentence() -> None:
    theirs = {error.code: str(error) for error in failures_of_the_service()}
    ours = {code: str(cls()) for code, cls in errors.BY_CODE.items() if code in theirs}

    assert len(theirs) > 30
    assert ours == theirs


def test_every_code_is_caught_as_what_its_status_means() -> None:
    table = pytest.importorskip("media_service.entrypoints.grpc_api.errors").STATUS

    for error in failures_of_the_service():
        assert issubclass(errors.BY_CODE[error.code], STATUS[table[error.kind]])


def test_the_module_draws_every_kind() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))

    assert {cls.__name__ for cls in ALL if cls.__subclasses__()} <= drawn
    assert drawn <= {cls.__name__ for cls in ALL}


@pytest.mark.parametrize("cls", ALL)
def test_an_error_says_what_it_is(cls: type[errors.MediaError]) -> None:
    error = cls()

    assert error.message == str(error)
    assert error.message.endswith(".")
    assert "\n" not in error.message
    assert ">>>" not in error.message
    assert re.fullmatch("[a-z_]+", error.code)
    assert errors.BY_CODE[error.code] is cls


@pytest.mark.parametrize("cls", ALL)
def test_an_error_survives_copying_and_pickling(cls: type[errors.MediaError]) -> None:
    error = cls("A sentence.", code="other", request_id="r", retry_after=2.5)

    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is cls
        assert vars(other) == vars(error)
        assert str(other) == "A sentence."


@pytest.mark.parametrize("status", [s for s in grpc.StatusCode if s is not grpc.StatusCode.OK])
async def test_a_status_without_a_code_becomes_its_kind(
    scripted: ScriptedService, status: grpc.StatusCode
) -> None:
    scripted.then(refuse(status, sentence="10.0.0.7 said no"))

    error = await raised(scripted)

    assert type(error) is STATUS[status]
    assert error.code == type(error).code
    assert "10.0.0.7" not in error.message  # not the service's own words: perhaps not safe to show
    assert error.request_id == scripted.seen[0].metadata["x-request-id"]


@pytest.mark.parametrize("cls", ALL)
async def test_a_code_becomes_its_class(
    scripted: ScriptedService, cls: type[errors.MediaError]
) -> None:
    scripted.then(refuse(grpc.StatusCode.NOT_FOUND, reason=cls.code, sentence="In other words."))

    error = await raised(scripted)

    assert type(error) is cls
    assert (error.code, error.message) == (cls.code, "In other words.")
    assert error.request_id == "from-the-service"


async def test_a_code_that_is_newer_than_the_client_is_kept(scripted: ScriptedService) -> None:
    scripted.then(refuse(grpc.StatusCode.INVALID_ARGUMENT, reason="file_too_pink"))

    error = await raised(scripted)

    assert type(error) is errors.Invalid
    assert (error.code, error.message) == ("file_too_pink", "A sentence.")


async def test_the_code_of_another_domain_is_not_ours(scripted: ScriptedService) -> None:
    scripted.then(
        refuse(grpc.StatusCode.UNAVAILABLE, reason="media_not_found", domain="mesh.example")
    )

    error = await raised(scripted)

    assert type(error) is errors.Unavailable
    assert error.code == "unavailable"


async def test_how_long_to_wait_is_told(scripted: ScriptedService) -> None:
    scripted.then(refuse(grpc.StatusCode.UNAVAILABLE, reason="storage_full", retry_seconds=2.5))

    error = await raised(scripted)

    assert (type(error), error.retry_after) == (errors.StorageFull, 2.5)


@pytest.mark.parametrize(
    "details", [b"\xff\xff", status_pb2.Status(details=[]).SerializeToString(), b""]
)
async def test_details_that_make_no_sense_are_ignored(
    scripted: ScriptedService, details: bytes
) -> None:
    async def step(attempt: Attempt) -> bytes:
        trailing = (("grpc-status-details-bin", details),)
        await attempt.context.abort(grpc.StatusCode.NOT_FOUND, "No.", trailing)
        raise AssertionError

    scripted.then(step)

    assert type(await raised(scripted)) is errors.NotFound


async def test_a_detail_whose_bytes_are_no_message_is_ignored(scripted: ScriptedService) -> None:
    async def step(attempt: Attempt) -> bytes:
        rich = status_pb2.Status(code=5, message="No.")
        rich.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
        trailing = (("grpc-status-details-bin", rich.SerializeToString()),)
        await attempt.context.abort(grpc.StatusCode.NOT_FOUND, "No.", trailing)
        raise AssertionError

    scripted.then(step)

    assert type(await raised(scripted)) is errors.NotFound
