"""The media service in memory: the contract's messages in and out, and the rules between."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from google.protobuf.message import Message
from media_proto import media_service_pb2 as pb

from media_client import errors
from media_client._transport import Call
from media_client.testing._checks import (
    SNIFFED_BYTES,
    check_arriving,
    check_claims,
    check_expiry,
    check_options,
    check_user,
    check_whole,
    checked,
    checked_batch,
    parsed_id,
    safe_filename,
)
from media_client.testing._faults import Fault, Faults
from media_client.testing._pictures import look_at
from media_client.testing._policies import POLICIES, Policy, plan
from media_client.testing._rows import Row, new_id, signed_until, timestamp
from media_client.testing._transformations import UNENDING, version_of

MessageT = TypeVar("MessageT", bound=Message)


@dataclasses.dataclass(frozen=True, slots=True)
class ReceivedCall:
    """One attempt that arrived: the method's name and the request id that came with it.

    >>> _ = await media.upload_profile_picture(picture, "me.png", "alice")
    >>> media.service.calls[-1].rpc
    'UploadMedia'
    """

    rpc: str
    request_id: str


class InMemoryMedia:
    """Everything the media service would know; several `FakeMediaClient`s can share one.

    `clock` tells the time, for tests of what expires.

    >>> service = InMemoryMedia()
    >>> async with FakeMediaClient(service) as ours, FakeMediaClient(service) as theirs:
    ...     stored = await ours.upload_profile_picture(picture, "me.png", "alice")
    ...     known = await theirs.get_media(stored.media_id)
    >>> service.ids_of("alice") == (known.media_id,)
    True
    """

    def __init__(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.faults = Faults()
        self._clock = clock
        self._rows: dict[str, Row] = {}
        self._contents: set[str] = set()
        self._made: set[tuple[str, str]] = set()
        self._calls: list[ReceivedCall] = []

    @property
    def calls(self) -> tuple[ReceivedCall, ...]:
        """Every attempt that arrived, in order."""
        return tuple(self._calls)

    def ids_of(self, user_id: str) -> tuple[str, ...]:
        """The media this user has now, the oldest first."""
        now = self._clock()
        rows = self._rows.values()
        return tuple(r.id for r in rows if r.owner == user_id and not r.is_gone(now))

    async def receive(
        self, rpc: str, call: Call, handle: Callable[[], Awaitable[MessageT]]
    ) -> MessageT:
        """What one attempt meets: the faults that are switched on, and what `handle` does."""
        self._calls.append(ReceivedCall(rpc, call.request_id))
        await asyncio.sleep(self.faults.delay_seconds)
        fault, refusal = self.faults.take(rpc)
        try:
            if refusal:
                raise copy.copy(refusal)
            if fault is Fault.GARBLED:
                raise errors.BadAnswer
            answer = await handle()
            if fault is Fault.TWICE:
                answer = await handle()
            if fault is Fault.LOST_ANSWER:
                raise errors.Interrupted
        except errors.MediaError as error:
            error.request_id = error.request_id or call.request_id
            raise
        return answer

    def handler(self, rpc: str) -> Callable[[Any], Any]:
        """What does the work of a method that takes one message."""
        handlers: dict[str, Callable[[Any], Any]] = {
            "UploadMedia": self.upload,
            "GetMedia": self._get,
            "WatchMedia": self._look,
            "DeleteMedia": self._delete,
            "ProcessMedia": self._process,
            "GetSignedUrl": self._sign,
            "BatchGetMedia": self._batch_get,
            "BatchDeleteMedia": self._batch_delete,
        }
        return handlers[rpc]

    def upload(self, request: pb.UploadMediaRequest) -> pb.UploadMediaResponse:
        """Store a file."""
        policy = checked(request)
        _admit(request, policy)
        sha256 = hashlib.sha256(request.data).hexdigest()
        row = self._earlier(request, sha256)
        if row is None:
            row = self._stored(request, policy, sha256)
        return row.upload_response(self._clock())

    def _earlier(self, request: pb.UploadMediaRequest, sha256: str) -> Row | None:
        named = (request.user_id, request.idempotency_key)
        rows = (r for r in self._rows.values() if (r.owner, r.idempotency_key) == named)
        earlier = next(rows, None) if request.idempotency_key else None
        if earlier and (earlier.sha256, earlier.purpose) != (sha256, request.purpose):
            raise errors.IdempotencyKeyReused
        return earlier

    def _stored(self, request: pb.UploadMediaRequest, policy: Policy, sha256: str) -> Row:
        picture, now = look_at(request.data), self._clock()
        options = _options(request)
        row = Row(
            id=new_id(),
            owner=request.user_id,
            purpose=request.purpose,
            filename=safe_filename(request.filename),
            visibility=request.visibility or policy.visibility,
            idempotency_key=request.idempotency_key,
            sha256=sha256,
            size_bytes=len(request.data),
            picture=picture,
            options=options,
            renditions=plan(policy, picture, options),
            status=pb.PENDING,
            failure_code="",
            deduplicated=sha256 in self._contents,
            created_at=now,
            updated_at=now,
            expires_at=now + policy.lifetime if policy.lifetime else None,
        )
        if row.recipes <= self._made:
            row = dataclasses.replace(row, status=pb.COMPLETED)
        self._contents.add(sha256)
        self._rows[row.id] = row
        return row

    def _found(self, media_id: str) -> Row:
        row = self._developed(parsed_id(media_id))
        if row is None or row.is_gone(self._clock()):
            raise errors.MediaNotFound
        return row

    def _developed(self, media_id: str) -> Row | None:
        """The row; by the time anybody looks, the worker has done its work."""
        row = self._rows.get(media_id)
        if row is None or row.status != pb.PENDING or self.faults.is_held:
            return row
        code = self.faults.failure_code
        self._made |= frozenset() if code else row.recipes
        status = pb.FAILED if code else pb.COMPLETED
        return self._replace(row, status=status, failure_code=code)

    def _replace(self, row: Row, **changes: Any) -> Row:
        changed = dataclasses.replace(row, updated_at=self._clock(), **changes)
        self._rows[row.id] = changed
        return changed

    def _owned(self, media_id: str, user_id: str) -> Row:
        row = self._developed(parsed_id(media_id))
        if row is None:
            raise errors.MediaNotFound
        if row.owner != user_id:
            is_hidden = row.visibility == pb.PRIVATE or row.is_deleted
            raise errors.MediaNotFound if is_hidden else errors.NotTheOwner
        return row

    def _get(self, request: pb.GetMediaRequest) -> pb.MediaResponse:
        media_id = request.media_id
        if request.idempotency_key and not media_id:
            check_user(request.user_id)
            media_id = self._uploaded(request.user_id, request.idempotency_key)
        return self._found(media_id).media_response(self._clock())

    def _look(self, request: pb.WatchMediaRequest) -> pb.MediaResponse:
        return self._found(request.media_id).media_response(self._clock())

    def look_again(self, request: Any, *, seen: Any) -> Any:
        """What who has seen this is told next: of what is gone, once that it was cancelled."""
        row = self._rows[parsed_id(request.media_id)]
        if row.status == pb.CANCELLED != seen.status:
            return row.media_response(self._clock())
        return self._look(request)

    @staticmethod
    def is_unfinished(answer: Any) -> bool:
        """Whether who watches the medium in this answer goes on watching."""
        return answer.status not in (pb.COMPLETED, pb.FAILED)

    def _uploaded(self, user_id: str, idempotency_key: str) -> str:
        named = (user_id, idempotency_key)
        for row in self._rows.values():
            if (row.owner, row.idempotency_key) == named and not row.is_gone(self._clock()):
                return row.id
        raise errors.MediaNotFound

    def _delete(self, request: pb.DeleteMediaRequest) -> pb.DeleteMediaResponse:
        check_user(request.user_id)
        self._remove(request.media_id, request.user_id)
        return pb.DeleteMediaResponse()

    def _remove(self, media_id: str, user_id: str) -> None:
        row = self._owned(media_id, user_id)
        if not row.is_deleted:
            status = pb.CANCELLED if row.status == pb.PENDING else row.status
            self._replace(row, is_deleted=True, status=status, filename="", idempotency_key="")

    def _process(self, request: pb.ProcessMediaRequest) -> pb.ProcessMediaResponse:
        check_user(request.user_id)
        check_options(request.processing_options)
        row = self._owned(request.media_id, request.user_id)
        if row.is_gone(self._clock()):
            raise errors.MediaNotFound
        options = _options(request)
        if options != row.options or row.status == pb.FAILED:
            renditions = plan(POLICIES[row.purpose], row.picture, options)
            row = self._replace(
                row, options=options, renditions=renditions, status=pb.PENDING, failure_code=""
            )
        return pb.ProcessMediaResponse(media_id=row.id, status=row.status)

    def _sign(self, request: pb.GetSignedUrlRequest) -> pb.GetSignedUrlResponse:
        media_id = parsed_id(request.media_id)
        check_expiry(request.expiry_seconds)
        if ":" in request.rendition:
            return self._sign_transformed(media_id, request)
        row = self._found(media_id)
        made = row.rendition(request.rendition or "full")
        if made is None:
            raise errors.RenditionNotFound
        expires_at = signed_until(self._clock(), request.expiry_seconds)
        url = row.signed_url(made, expires_at)
        return pb.GetSignedUrlResponse(url=url, expires_at=timestamp(expires_at))

    def _sign_transformed(
        self, media_id: str, request: pb.GetSignedUrlRequest
    ) -> pb.GetSignedUrlResponse:
        version = version_of(request.rendition)
        row = self._found(media_id)
        is_public = row.visibility == pb.PUBLIC
        ends = UNENDING if is_public else signed_until(self._clock(), request.expiry_seconds)
        url = row.signed(request.rendition, version, ends)
        return pb.GetSignedUrlResponse(url=url, expires_at=timestamp(ends))

    def _batch_get(self, request: pb.BatchGetMediaRequest) -> pb.BatchGetMediaResponse:
        answer = pb.BatchGetMediaResponse()
        for media_id in checked_batch(request.media_ids):
            try:
                answer.media.append(self._get(pb.GetMediaRequest(media_id=media_id)))
            except (errors.MediaNotFound, errors.InvalidMediaId):
                answer.missing_ids.append(media_id)
        return answer

    def _batch_delete(self, request: pb.BatchDeleteMediaRequest) -> pb.BatchDeleteMediaResponse:
        check_user(request.user_id)
        answer = pb.BatchDeleteMediaResponse()
        for media_id in dict.fromkeys(checked_batch(request.media_ids)):
            try:
                self._remove(media_id, request.user_id)
                answer.deleted_count += 1
            except errors.MediaError as error:
                answer.failed_ids.append(media_id)
                answer.failures.add(media_id=media_id, code=error.code, message=error.message)
        return answer


def _admit(request: pb.UploadMediaRequest, policy: Policy) -> None:
    """Raise what the service does once all bytes are there, in its order."""
    check_arriving(request, request.data, policy)
    check_whole(request)
    if len(request.data) < SNIFFED_BYTES:
        look_at(request.data)
        check_claims(request)


def _options(
    request: pb.UploadMediaRequest | pb.ProcessMediaRequest,
) -> pb.ProcessingOptions | None:
    return request.processing_options if request.HasField("processing_options") else None
