"""`make run`: both services on this machine, an account to try them with, and the request to try.

Ctrl-C stops both; each finishes what is in flight.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

BIN = Path(sys.executable).parent
START_SECONDS = 90
STOP_SECONDS = 30
PHOTO = "docs/samples/photo.jpg"

Service = subprocess.Popen[bytes]


class Stopped(Exception):
    """Somebody asked to stop, or a service ended by itself."""


def main() -> int:
    """Run until stopped; the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    services: list[Service] = []
    try:
        services.append(_start("mediad"))
        services.append(_start("userd"))
        _wait_until_ready(services)
        _greet()
        _wait(services)
    except Stopped as stopped:
        print(f"\n{stopped}; finishing what is in flight", file=sys.stderr)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        statuses = [_end(service) for service in reversed(services)]
    return max(statuses, default=0, key=abs)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(f"{signal.Signals(number).name}")


def _start(name: str) -> Service:
    # A session of its own: Ctrl-C reaches us only, and we pass it on in order.
    return subprocess.Popen([BIN / name, "serve"], env=_environment(), start_new_session=True)


def _environment() -> Mapping[str, str]:
    """Ours; and on other ports than the usual, userd is told where mediad is."""
    grpc_port = os.environ.get("MEDIAD_GRPC_PORT", "50051")
    return {
        "USERD_MEDIA_ADDRESS": f"localhost:{grpc_port}",
        "USERD_MEDIA_PUBLIC_URL": os.environ.get(
            "MEDIAD_PUBLIC_URL", f"http://127.0.0.1:{os.environ.get('MEDIAD_PORT', '8083')}"
        ),
        **os.environ,
    }


def _end(service: Service) -> int:
    """Ask it to stop, and wait; its exit status."""
    if service.poll() is None:
        service.terminate()
    try:
        return service.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        service.kill()
        return service.wait()


def _wait_until_ready(services: list[Service]) -> None:
    deadline = time.monotonic() + START_SECONDS
    for url in (_media_url(), _users_url()):
        while not _answers(f"{url}/readyz"):
            _check_alive(services)
            if time.monotonic() > deadline:
                raise Stopped(f"nothing is ready at {url}")
            time.sleep(0.1)


def _check_alive(services: list[Service]) -> None:
    for service in services:
        if service.poll() is not None:
            raise Stopped("a service ended; its message is above")


def _wait(services: list[Service]) -> None:
    while True:
        _check_alive(services)
        time.sleep(0.5)


def _media_url() -> str:
    return f"http://localhost:{os.environ.get('MEDIAD_PORT', '8083')}"


def _users_url() -> str:
    return f"http://localhost:{os.environ.get('USERD_PORT', '8080')}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _greet() -> None:
    """Say where to go, with an account made for this run."""
    name, password = f"demo_{secrets.token_hex(3)}", secrets.token_urlsafe(12)
    token = _register(name, password)["access_token"]
    print(
        f"""
mediad is running. Ctrl-C stops it.

  The page            {_users_url()}/          sign in as {name} with {password}
  Its API             {_users_url()}/docs
  The media service   localhost:{os.environ.get("MEDIAD_GRPC_PORT", "50051")} (gRPC), {_media_url()}

Post a film: sign in on the page, and drop a clip from a phone on "New post". Its poster is there
at once, the film as soon as it is made.

Set a profile picture (the token lives for 15 minutes):

  curl -F file=@{PHOTO} -H 'Authorization: Bearer {token}' \\
    {_users_url()}/api/v1/media/profile-picture

Store a picture, a film or a sound for a post, and watch it being made:

  curl -F file=@{PHOTO} -H 'Authorization: Bearer {token}' \\
    {_users_url()}/api/v1/media/attachments
  curl -N -H 'Authorization: Bearer {token}' {_users_url()}/api/v1/media/MEDIA_ID/events
""",
        flush=True,
    )


def _register(name: str, password: str) -> Mapping[str, str]:
    request = urllib.request.Request(
        f"{_users_url()}/api/v1/auth/register",
        data=json.dumps({"username": name, "password": password}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
    except (OSError, urllib.error.HTTPError) as error:
        raise Stopped(f"no account could be made: {error}") from error
    return dict(answer["data"])


if __name__ == "__main__":
    sys.exit(main())
