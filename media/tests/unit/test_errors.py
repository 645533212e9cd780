from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from media_service.core import errors
from media_service.core.errors import Kind, MediaError
from media_service.entrypoints.grpc_api.errors import STATUS as GRPC
from media_service.entrypoints.http_api import errors as http
from media_service.entrypoints.http_api.errors import INTERNAL
from media_service.entrypoints.http_api.errors import STATUS as HTTP

DOCUMENT = Path(__file__).parents[3] / "docs" / "status-codes.md"

CODES = {
    "broken": Kind.BROKEN,
    "broken_file": Kind.BROKEN,
    "cancelled_by_operator": Kind.CONFLICT,
    "checksum_mismatch": Kind.INVALID,
    "conflict": Kind.CONFLICT,
    "database_unavailable": Kind.UNAVAILABLE,
    "decoder_unavailable": Kind.UNAVAILABLE,
    "empty_file": Kind.INVALID,
    "file_too_large": Kind.TOO_LARGE,
    "forbidden": Kind.FORBIDDEN,
    "full": Kind.FULL,
    "idempotency_key_reused": Kind.CONFLICT,
    "invalid": Kind.INVALID,
    "invalid_batch": Kind.INVALID,
    "invalid_checksum": Kind.INVALID,
    "invalid_content_type": Kind.INVALID,
    "invalid_expiry": Kind.INVALID,
    "invalid_filename": Kind.INVALID,
    "invalid_idempotency_key": Kind.INVALID,
    "invalid_media_id": Kind.INVALID,
    "invalid_options": Kind.INVALID,
    "invalid_purpose": Kind.INVALID,
    "invalid_request": Kind.INVALID,
    "invalid_signature": Kind.FORBIDDEN,
    "invalid_size": Kind.INVALID,
    "invalid_stream": Kind.INVALID,
    "invalid_transformation": Kind.INVALID,
    "invalid_user_id": Kind.INVALID,
    "invalid_visibility": Kind.INVALID,
    "limited": Kind.LIMITED,
    "media_damaged": Kind.UNAVAILABLE,
    "media_failed": Kind.CONFLICT,
    "media_not_found": Kind.NOT_FOUND,
    "metadata_too_large": Kind.TOO_LARGE,
    "not_found": Kind.NOT_FOUND,
    "not_the_owner": Kind.FORBIDDEN,
    "queue_full": Kind.LIMITED,
    "rendition_not_found": Kind.NOT_FOUND,
    "rendition_not_ready": Kind.UNAVAILABLE,
    "service_stopping": Kind.UNAVAILABLE,
    "size_mismatch": Kind.INVALID,
    "storage_full": Kind.FULL,
    "storage_unavailable": Kind.UNAVAILABLE,
    "too_complex": Kind.BROKEN,
    "too_large": Kind.TOO_LARGE,
    "too_long": Kind.BROKEN,
    "too_many_pixels": Kind.BROKEN,
    "too_many_uploads": Kind.LIMITED,
    "too_many_watchers": Kind.LIMITED,
    "type_mismatch": Kind.UNSUPPORTED,
    "unauthenticated": Kind.UNAUTHENTICATED,
    "unavailable": Kind.UNAVAILABLE,
    "unsafe_archive": Kind.UNSUPPORTED,
    "unsupported": Kind.UNSUPPORTED,
    "unsupported_codec": Kind.UNSUPPORTED,
    "unsupported_type": Kind.UNSUPPORTED,
    "upload_stalled": Kind.INVALID,
}
"""What programs match on: a code may be added, but never changed or moved to another kind."""


def _below(parent: type[MediaError]) -> Iterator[type[MediaError]]:
    for child in parent.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from _below(child)


ALL = list(_below(MediaError))
by_name = pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)


def test_codes_and_kinds_are_those_that_were_published() -> None:
    assert {error().code: error.kind for error in ALL} == CODES


def test_every_code_is_in_the_documentation_as_it_is_answered() -> None:
    raised = [error() for error in ALL if not error.__subclasses__() or error is errors.NotFound]
    answered = {
        (error.code, GRPC[error.kind].name, str(HTTP[error.kind].value), str(error))
        for error in raised
    }
    answered.add(("internal_error", "INTERNAL", "500", INTERNAL.message))

    documented = re.findall(
        r"^\| `(\w+)` \| ([A-Z_]+) \| (\d+) \| (.+) \| .*\w.* \|$",
        DOCUMENT.read_text(),
        re.MULTILINE,
    )

    assert len(documented) == len(set(documented))
    assert set(documented) == answered


def test_what_http_itself_refuses_is_in_the_documentation() -> None:
    problems = [p for p in vars(http).values() if isinstance(p, http.Problem)]
    problems.append(http.range_not_satisfiable(0))

    for problem in problems:
        assert f"`{problem.code}`" in DOCUMENT.read_text()
        assert str(problem.status) in DOCUMENT.read_text()


def test_no_two_errors_share_a_code() -> None:
    assert len({error().code for error in ALL}) == len(ALL)


def test_every_kind_has_an_error() -> None:
    assert {error.kind for error in ALL} == set(Kind)


@by_name
def test_the_message_is_one_sentence_on_one_line(error: type[MediaError]) -> None:
    message = str(error())

    assert message.isprintable()
    assert message.endswith((".", ")."))
    assert message[0].isupper() or message.split(" ", maxsplit=1)[0].islower()
    assert "  " not in message


@by_name
def test_the_message_tells_nothing_of_the_cause(error: type[MediaError]) -> None:
    raised = error()
    raised.__cause__ = OSError("secret")

    assert "secret" not in str(raised)


@by_name
def test_every_error_has_a_sentence_of_its_own(error: type[MediaError]) -> None:
    assert [other for other in ALL if str(other()) == str(error())] == [error]


def test_a_message_can_say_more_than_the_docstring() -> None:
    assert str(errors.InvalidRequest("media_id is missing.")) == "media_id is missing."


def test_only_what_is_wrong_with_a_file_and_what_was_cancelled_is_final() -> None:
    final = {code for code in CODES if errors.is_final(code)}

    assert final == {
        *(code for code, kind in CODES.items() if kind in (Kind.BROKEN, Kind.UNSUPPORTED)),
        *(code for code, kind in CODES.items() if kind is Kind.TOO_LARGE),
        "cancelled_by_operator",
    }
