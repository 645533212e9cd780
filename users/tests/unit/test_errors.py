"""Every failure has a sentence, a code and a status."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from user_service import errors
from user_service.errors import Kind, UserError
from user_service.http_api.errors import PASSING, STATUS, problem_of

DOCUMENT = Path(__file__).parents[3] / "docs" / "status-codes.md"
ANSWERED_AS_THEY_ARE = {errors.Unauthenticated, errors.NotFound, errors.TimedOut}
ANSWERED_WITH_THE_MEDIA_SERVICES_CODE = {errors.Broken}


def below(cls: type[UserError]) -> Iterator[type[UserError]]:
    for child in cls.__subclasses__():
        yield child
        yield from below(child)


def test_every_kind_has_a_status() -> None:
    assert set(STATUS) == set(Kind)


def test_every_failure_has_one_sentence_of_its_own() -> None:
    sentences = [str(cls()) for cls in below(UserError)]
    assert all(s.endswith(".") and "\n" not in s and len(s) < 120 for s in sentences)
    assert len(set(sentences)) == len(sentences)


def test_every_failure_has_a_code_of_its_own() -> None:
    codes = [cls().code for cls in below(UserError)]
    assert len(set(codes)) == len(codes)
    assert {"username_taken", "not_a_form"} <= set(codes)


def test_every_failure_is_in_the_documentation() -> None:
    kinds = {cls for cls in below(UserError) if cls.__subclasses__()} - ANSWERED_AS_THEY_ARE
    own = set(below(UserError)) - kinds - ANSWERED_WITH_THE_MEDIA_SERVICES_CODE
    answered = {(cls().code, str(STATUS[cls.kind].value), str(cls())) for cls in own}

    _, _, section = DOCUMENT.read_text().partition("## The user service\n")
    documented = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+) \| .*\w.* \|$", section, re.MULTILINE)

    assert len(documented) == len(set(documented))
    assert set(documented) == answered


def test_what_passes_says_when_to_come_back() -> None:
    for cls in below(UserError):
        headers = dict(problem_of(cls(retry_after_seconds=7)).headers)
        assert (headers.get(b"retry-after") == b"7") is (cls.kind in PASSING)


def test_what_is_not_ours_tells_nothing() -> None:
    problem = problem_of(RuntimeError("secret"))
    assert problem.status == 500
    assert "secret" not in problem.message
