"""The policies file: what an operator says of purposes instead of the built-in table."""

from __future__ import annotations

import dataclasses
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator

from media_service.config import SettingsRefused
from media_service.core.media import MediaType, Purpose, Visibility
from media_service.core.planning import DevelopingPolicy, ThumbnailSpec
from media_service.core.purposes import DEFAULT_POLICIES, Policies, Policy
from media_service.core.recipes import Shape
from media_service.core.renditions import FULL


class _Thumbnail(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=r"^[a-z0-9_-]{1,32}$")
    shape: Shape
    width: int = Field(ge=1, le=16_384)
    height: int = Field(ge=1, le=16_384)


class _PurposeOverride(BaseModel):
    """What an operator may say of one purpose; the rest stays as it is."""

    model_config = ConfigDict(extra="forbid")
    max_bytes: dict[MediaType, PositiveInt] | None = None
    visibility: Visibility | None = None
    lifetime_seconds: Annotated[int, Field(ge=1, le=315_360_000)] | None = None
    full_width: Annotated[int, Field(ge=1, le=4096)] | None = None
    full_height: Annotated[int, Field(ge=1, le=4096)] | None = None
    full_quality: Annotated[int, Field(ge=1, le=100)] | None = None
    thumbnail_quality: Annotated[int, Field(ge=1, le=100)] | None = None
    thumbnails: tuple[_Thumbnail, ...] | None = None
    film_short_side: Annotated[int, Field(ge=144, le=2160)] | None = None
    film_frame_rate: Annotated[int, Field(ge=1, le=120)] | None = None
    max_duration_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None

    @field_validator("thumbnails")
    @classmethod
    def _names_differ(
        cls, thumbnails: tuple[_Thumbnail, ...] | None
    ) -> tuple[_Thumbnail, ...] | None:
        names = [FULL, *(thumbnail.name for thumbnail in thumbnails or ())]
        if len(set(names)) < len(names):
            raise ValueError("thumbnails need names of their own, and none is `full`")
        return thumbnails

    def applied_to(self, policy: Policy) -> Policy:
        """The policy with what this says."""
        seconds = self.lifetime_seconds
        return Policy(
            max_bytes=self.max_bytes or policy.max_bytes,
            developing=self._developing(policy.developing),
            visibility=self.visibility or policy.visibility,
            lifetime=timedelta(seconds=seconds) if seconds else policy.lifetime,
            max_duration=timedelta(seconds=self.max_duration_seconds)
            if self.max_duration_seconds
            else policy.max_duration,
        )

    def _developing(self, policy: DevelopingPolicy) -> DevelopingPolicy:
        thumbnails = policy.thumbnails
        if self.thumbnails is not None:
            thumbnails = tuple(ThumbnailSpec(**t.model_dump()) for t in self.thumbnails)
        return dataclasses.replace(
            policy,
            full_width=self.full_width or policy.full_width,
            full_height=self.full_height or policy.full_height,
            full_quality=self.full_quality or policy.full_quality,
            thumbnail_quality=self.thumbnail_quality or policy.thumbnail_quality,
            thumbnails=thumbnails,
            film_short_side=self.film_short_side or policy.film_short_side,
            film_frame_rate=self.film_frame_rate or policy.film_frame_rate,
        )


class _PoliciesFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    version: int = Field(ge=2, description="Raise it with every change; 1 is the built-in table")
    purposes: dict[Purpose, _PurposeOverride] = {}


def read_policies(file: Path | None) -> Policies:
    """The policy of every purpose. Raises SettingsRefused if the file can't be used."""
    if file is None:
        return DEFAULT_POLICIES
    try:
        said = _PoliciesFile.model_validate(tomllib.loads(file.read_text()))
    except (OSError, ValueError) as error:
        raise SettingsRefused(f"MEDIAD_POLICIES_FILE: {error}") from None
    overridden = {
        purpose: override.applied_to(DEFAULT_POLICIES.of[purpose])
        for purpose, override in said.purposes.items()
    }
    return Policies(version=said.version, of={**DEFAULT_POLICIES.of, **overridden})
