"""Who asks, and from where."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from user_service.errors import Unauthenticated
from user_service.identity import Identifying
from user_service.records import UserId

Network = IPv4Network | IPv6Network

_documented = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    scheme_name="accessToken",
    description="An access token, as login answers it.",
)


async def asking_user(request: Request, _: Annotated[object, Depends(_documented)]) -> UserId:
    """The user whose token the request carries. Reads no byte of the body.

    Raises Unauthenticated, KeysUnavailable, DatabaseUnavailable.
    """
    identifying: Identifying = request.app.state.identifying
    return await identifying.identify(_token(request))


User = Annotated[UserId, Depends(asking_user)]
"""In the signature of an endpoint: whoever asks, who must be known."""


def _token(request: Request) -> str:
    """The token of the only Authorization header; a token anywhere else is not looked at."""
    values = request.headers.getlist("authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    if scheme.lower() != "bearer":
        raise Unauthenticated
    return token.strip(" ")


class Addresses:
    """From which address a request comes, where proxies of ours may stand between."""

    def __init__(self, trusted_proxies: Sequence[Network]) -> None:
        self._trusted = trusted_proxies

    def of(self, request: Request) -> str:
        """The first address, looking back from us, that is none of our proxies'.

        Without proxies of ours that is the peer's, whatever the headers say.
        """
        address = request.client.host if request.client else ""
        forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
        hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
        while hops and self._is_ours(address):
            address = hops.pop()
        return address

    def _is_ours(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)
