"""Registering, logging in and out."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import Response

from user_service.accounts import Accounts, Admission
from user_service.errors import Kind
from user_service.http_api.answers import answer
from user_service.http_api.asking import Addresses
from user_service.http_api.bodies import read_json
from user_service.http_api.documentation import refusals, takes_json
from user_service.http_api.schemas import Answer, Credentials, Nothing, RefreshToken, Tokens


def auth_routes(accounts: Accounts, addresses: Addresses) -> APIRouter:
    """The routes under /api/v1/auth."""
    router = APIRouter(prefix="/api/v1/auth", tags=["accounts"])
    endpoints = _Endpoints(accounts, addresses)
    router.post(
        "/register",
        status_code=HTTPStatus.CREATED,
        response_model=Answer[Tokens],
        responses=refusals(Kind.CONFLICT, Kind.LIMITED, takes_body=True),
        openapi_extra=takes_json(Credentials),
    )(endpoints.register)
    router.post(
        "/login",
        response_model=Answer[Tokens],
        responses=refusals(Kind.UNAUTHENTICATED, Kind.LIMITED, takes_body=True),
        openapi_extra=takes_json(Credentials),
    )(endpoints.log_in)
    router.post(
        "/refresh",
        response_model=Answer[Tokens],
        responses=refusals(Kind.UNAUTHENTICATED, takes_body=True),
        openapi_extra=takes_json(RefreshToken),
    )(endpoints.refresh)
    router.post(
        "/logout",
        response_model=Answer[Nothing],
        responses=refusals(takes_body=True),
        openapi_extra=takes_json(RefreshToken),
    )(endpoints.log_out)
    return router


class _Endpoints:
    """Their docstrings are the documentation of the routes."""

    def __init__(self, accounts: Accounts, addresses: Addresses) -> None:
        self._accounts = accounts
        self._addresses = addresses

    async def register(self, request: Request) -> Response:
        """Make an account, and be logged in to it."""
        asked = await read_json(request, Credentials)
        admission = await self._accounts.register(
            asked.username, asked.password, address=self._addresses.of(request)
        )
        return answer(_tokens(admission), status=HTTPStatus.CREATED)

    async def log_in(self, request: Request) -> Response:
        """Log in. A username that nobody has and a wrong password are the same answer."""
        asked = await read_json(request, Credentials)
        admission = await self._accounts.log_in(
            asked.username, asked.password, address=self._addresses.of(request)
        )
        return answer(_tokens(admission))

    async def refresh(self, request: Request) -> Response:
        """Exchange a refresh token for new tokens. Used a second time, it ends its session."""
        asked = await read_json(request, RefreshToken)
        return answer(_tokens(await self._accounts.refresh(asked.refresh_token)))

    async def log_out(self, request: Request) -> Response:
        """End the session of this refresh token, and with it its access tokens."""
        asked = await read_json(request, RefreshToken)
        await self._accounts.log_out(asked.refresh_token)
        return answer(Nothing())


def _tokens(admission: Admission) -> Tokens:
    return Tokens(
        user_id=admission.user_id,
        access_token=admission.access_token,
        refresh_token=admission.refresh_token,
        expires_in=admission.expires_in,
    )
