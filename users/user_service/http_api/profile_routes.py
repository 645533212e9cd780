"""Profiles."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from user_service.errors import Kind, NotYou
from user_service.http_api.answers import answer
from user_service.http_api.asking import User
from user_service.http_api.bodies import read_json
from user_service.http_api.documentation import refusals, takes_json
from user_service.http_api.schemas import Answer, ProfileChanges, ProfileView, profile_view
from user_service.profiles import Profiles
from user_service.records import user_id


def profile_routes(profiles: Profiles) -> APIRouter:
    """The routes of profiles."""
    router = APIRouter(prefix="/api/v1", tags=["profiles"])
    endpoints = _Endpoints(profiles)
    router.get(
        "/users/{id}/profile",
        response_model=Answer[ProfileView],
        responses=refusals(Kind.NOT_FOUND),
    )(endpoints.read)
    router.get(
        "/profile",
        response_model=Answer[ProfileView],
        responses=refusals(Kind.UNAUTHENTICATED),
    )(endpoints.read_own)
    router.patch(
        "/profile",
        response_model=Answer[ProfileView],
        responses=refusals(Kind.UNAUTHENTICATED, Kind.FORBIDDEN, takes_body=True),
        openapi_extra=takes_json(ProfileChanges),
    )(endpoints.change)
    return router


class _Endpoints:
    """Their docstrings are the documentation of the routes."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    async def read(self, id: str) -> Response:
        """What everybody may see of somebody."""
        return answer(profile_view(await self._profiles.of(user_id(id))))

    async def read_own(self, user: User) -> Response:
        """Your own profile."""
        return answer(profile_view(await self._profiles.own(user)))

    async def change(self, request: Request, user: User) -> Response:
        """Change your display name or bio; what is left out stays."""
        asked = await read_json(request, ProfileChanges)
        if asked.user_id not in (None, user):
            raise NotYou
        changed = await self._profiles.change(user, display_name=asked.display_name, bio=asked.bio)
        return answer(profile_view(changed))
