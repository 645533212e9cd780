"""What bodies look like, for checking and for the documentation."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from user_service.ports import MediaDetails
from user_service.records import Picture, Profile, UserId

_T = TypeVar("_T")


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Credentials(_Asked):
    """A username and a password."""

    username: str = Field(
        max_length=128,
        description="3 to 32 of a-z, 0-9, `.`, `_`, `-`; capitals are the same as small letters.",
        examples=["ada"],
    )
    password: str = Field(
        max_length=1024,
        json_schema_extra={"format": "password"},
        description="8 to 128 characters, none of the most common passwords.",
        examples=["a quiet green harbour"],
    )


class RefreshToken(_Asked):
    """A refresh token."""

    refresh_token: str = Field(max_length=256, description="As it was answered last.")


class ProfileChanges(_Asked):
    """What is to be changed; what is left out stays."""

    display_name: str | None = Field(None, max_length=256, description="Up to 64 characters.")
    bio: str | None = Field(None, max_length=2000, description="Up to 500 characters.")
    user_id: str | None = Field(None, max_length=128, description="Yours, or left out.")


class Answer(BaseModel, Generic[_T]):
    """What worked."""

    success: Literal[True] = True
    data: _T


class ErrorDetail(BaseModel):
    """What did not work."""

    code: str = Field(description="Stable, for programs.")
    message: str = Field(description="One sentence, safe to show.")


class Refusal(BaseModel):
    """What did not work."""

    success: Literal[False] = False
    error: ErrorDetail


class Nothing(BaseModel):
    """Nothing more to say."""


class Tokens(BaseModel):
    """Who you are, and what proves it."""

    user_id: str
    access_token: str = Field(description="Send it as `Authorization: Bearer …`.")
    refresh_token: str = Field(description="Good once, for new tokens.")
    expires_in: int = Field(description="Seconds that the access token lasts.")


class ThumbnailView(BaseModel):
    """One size of a picture."""

    model_config = ConfigDict(from_attributes=True)
    name: str
    url: str
    width: int
    height: int


class RenditionView(ThumbnailView):
    """One thing that is served of a medium, as it is there: `full`, `poster`, `hls`, `waveform`."""

    content_type: str
    size_bytes: int = Field(description="0 until it has been made.")


class PictureView(BaseModel):
    """A picture. Its URLs work at once."""

    model_config = ConfigDict(from_attributes=True)
    media_id: str
    url: str
    thumbnail_url: str
    width: int
    height: int
    blurhash: str = Field(description="A placeholder to paint before the picture arrives.")
    thumbnails: list[ThumbnailView]


class MediaView(PictureView):
    """All that is known of a medium. `url` of a film or a sound works when `full` is listed."""

    user_id: str
    purpose: str
    media_type: str
    content_type: str
    filename: str = Field(description="Its owner's name for it; empty for others.")
    size_bytes: int
    status: str
    visibility: str
    duration_ms: int = Field(description="0 for what does not play.")
    has_audio: bool
    page_count: int
    failure_code: str
    progress_percent: int = Field(description="How much of the work on its renditions is done.")
    renditions: list[RenditionView] = Field(
        description="Those that are there: more of them as the work goes on."
    )
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None


class DeletedView(BaseModel):
    """What became of it."""

    media_id: str
    status: Literal["deleted", "deleting"] = Field(
        description="`deleting`: the profile has forgotten it; it goes when the media service is "
        "back."
    )


class ProfileView(BaseModel):
    """What others see of somebody."""

    user_id: str
    username: str = Field(description="Empty for those who come from an outside issuer.")
    display_name: str
    bio: str
    profile_picture_url: str | None
    profile_picture_id: str | None
    cover_photo_url: str | None
    cover_photo_id: str | None
    profile_picture: PictureView | None
    cover_photo: PictureView | None


def picture_view(picture: Picture) -> PictureView:
    """A picture as it is answered."""
    return PictureView.model_validate(picture)


def media_view(details: MediaDetails, *, to: UserId) -> MediaView:
    """A medium as it is answered to this user."""
    known = {name: getattr(details, name) for name in _DETAILS}
    known["filename"] = details.filename if details.user_id == to else ""
    renditions = [RenditionView.model_validate(rendition) for rendition in details.renditions]
    picture = picture_view(details.picture).model_dump()
    return MediaView(**picture, **known, renditions=renditions)


_DETAILS = (
    "user_id", "purpose", "media_type", "content_type", "size_bytes", "status", "visibility",
    "duration_ms", "has_audio", "page_count", "failure_code", "progress_percent", "created_at",
    "updated_at", "expires_at",
)  # fmt: skip


def profile_view(profile: Profile) -> ProfileView:
    """A profile as it is answered."""
    picture, cover = profile.profile_picture, profile.cover_photo
    return ProfileView(
        user_id=profile.user_id,
        username=profile.username,
        display_name=profile.display_name,
        bio=profile.bio,
        profile_picture_url=picture.url if picture else None,
        profile_picture_id=picture.media_id if picture else None,
        cover_photo_url=cover.url if cover else None,
        cover_photo_id=cover.media_id if cover else None,
        profile_picture=picture_view(picture) if picture else None,
        cover_photo=picture_view(cover) if cover else None,
    )
