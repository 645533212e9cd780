"""The kinds of failures; `media_client.errors` has the whole tree."""

from __future__ import annotations

import inspect
import re


class MediaError(Exception):
    """The media service could not do this.

    `message`, which is `str(error)` too, is one sentence that is safe to show. `code` is what
    programs match on. `request_id` finds the call in the service's logs. `retry_after` is how
    many seconds the service asks to be left alone, if it said so.

    >>> from media_client import MediaError
    >>> try:
    ...     await media.get_media("0198c0de-0000-7000-8000-000000000000")
    ... except MediaError as error:
    ...     print(error.code, "-", error.message)
    media_not_found - No such media.
    """

    code: str = "media_error"

    def __init_subclass__(cls) -> None:
        cls.code = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "",
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.message = message or _first_sentence(type(self))
        self.code = code or type(self).code
        self.request_id = request_id
        self.retry_after = retry_after
        super().__init__(self.message)


def _first_sentence(cls: type[MediaError]) -> str:
    return inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")


class Invalid(MediaError):
    """The request can't be right.

    >>> from media_client import Invalid
    >>> try:
    ...     await media.get_media("42")
    ... except Invalid as error:
    ...     print(error.code)
    invalid_media_id
    """


class Broken(Invalid):
    """The file can't be read.

    >>> from media_client import Broken
    >>> try:
    ...     await media.upload_profile_picture(picture[:100], "me.png", "alice")
    ... except Broken as error:
    ...     print(error)
    The file is damaged or incomplete.
    """


class TooLarge(Invalid):
    """This is too large.

    >>> from media_client import TooLarge
    >>> try:
    ...     await media.upload_profile_picture(picture + bytes(10_485_760), "me.png", "alice")
    ... except TooLarge as error:
    ...     print(error)
    The file has more bytes than its purpose allows.
    """


class Unsupported(Invalid):
    """This type is not taken.

    >>> from media_client import Unsupported
    >>> try:
    ...     await media.upload_profile_picture(b"<!doctype html>", "me.jpg", "alice")
    ... except Unsupported as error:
    ...     print(error.code)
    unsupported_type
    """


class Unauthenticated(MediaError):
    """Send a valid service token.

    >>> from media_client import Unauthenticated
    >>> media.service.faults.refuse(Unauthenticated())
    >>> try:
    ...     await media.upload_profile_picture(picture, "me.png", "alice")
    ... except Unauthenticated as error:
    ...     print(error)
    Send a valid service token.
    """


class Forbidden(MediaError):
    """This is not allowed.

    >>> from media_client import Forbidden
    >>> of_alice = await media.upload_profile_picture(picture, "me.png", "alice")
    >>> try:
    ...     await media.delete_media(of_alice.media_id, user_id="bob")
    ... except Forbidden as error:
    ...     print(error)
    Only its owner may do this.
    """


class NotFound(MediaError):
    """There is nothing here.

    >>> from media_client import NotFound
    >>> try:
    ...     await media.get_media("0198c0de-0000-7000-8000-000000000000")
    ... except NotFound as error:
    ...     print(error)
    No such media.
    """


class Conflict(MediaError):
    """This is at odds with what is there.

    >>> from media_client import Conflict
    >>> from media_client.testing import sample_picture
    >>> async def upload(data):
    ...     await media.upload_media(
    ...         data,
    ...         filename="me.png",
    ...         user_id="alice",
    ...         purpose=Purpose.AVATAR,
    ...         idempotency_key="form-7",
    ...     )
    >>> await upload(picture)
    >>> try:
    ...     await upload(sample_picture(seed=2))
    ... except Conflict as error:
    ...     print(error.code)
    idempotency_key_reused
    """


class Limited(MediaError):
    """Too much at once; try again in a moment.

    >>> from media_client import Limited
    >>> media.service.faults.refuse(Limited(retry_after=0.01), times=9)
    >>> try:
    ...     await media.batch_get_media(["0198c0de-0000-7000-8000-000000000000"])
    ... except Limited as error:
    ...     print(error.retry_after)
    0.01
    """


class Unavailable(MediaError):
    """The service can't do this right now; try again in a moment.

    >>> from media_client import Unavailable
    >>> media.service.faults.unavailable(times=9)
    >>> try:
    ...     await media.upload_profile_picture(picture, "me.png", "alice")
    ... except Unavailable as error:
    ...     print(error.code)
    unavailable
    """


class Full(Unavailable):
    """There is no room left to store this.

    >>> from media_client import Full
    >>> media.service.faults.refuse(Full(), times=9)
    >>> try:
    ...     await media.upload_profile_picture(picture, "me.png", "alice")
    ... except Full as error:
    ...     print(error)
    There is no room left to store this.
    """


class Interrupted(Unavailable):
    """The call was broken off before its answer came.

    Whether the service has done what it was asked is not known.

    >>> from media_client import Interrupted
    >>> media.service.faults.lose_answers(times=9)
    >>> try:
    ...     await media.upload_profile_picture(picture, "me.png", "alice")
    ... except Interrupted as error:
    ...     print(error)
    The call was broken off before its answer came.
    """


class DeadlineExceeded(MediaError):
    """There was no answer in time.

    Whether the service has done what it was asked is not known.

    >>> from media_client import DeadlineExceeded
    >>> media.service.faults.slow(30)
    >>> try:
    ...     await media.upload_media(
    ...         picture, filename="me.png", user_id="alice", purpose=Purpose.AVATAR, timeout=0.05
    ...     )
    ... except DeadlineExceeded as error:
    ...     print(error)
    There was no answer in time.
    """


class InternalError(MediaError):
    """Something went wrong inside the media service.

    >>> from media_client import InternalError
    >>> media.service.faults.refuse(InternalError(request_id="7f3a"))
    >>> try:
    ...     await media.get_media("0198c0de-0000-7000-8000-000000000000")
    ... except InternalError as error:
    ...     print(error.request_id)
    7f3a
    """


class BadAnswer(MediaError):
    """The answer makes no sense: perhaps the address is not the media service's.

    >>> from media_client import BadAnswer
    >>> media.service.faults.garble()
    >>> try:
    ...     await media.upload_profile_picture(picture, "me.png", "alice")
    ... except BadAnswer as error:
    ...     print(error.code)
    bad_answer
    """
