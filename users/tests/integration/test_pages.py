"""The page, the documentation, and what operators ask."""

from __future__ import annotations

import re

import pytest
from user_fakes.running import Running, refusal

pytestmark = [pytest.mark.needs_postgres, pytest.mark.asyncio(loop_scope="module")]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data: http://127.0.0.1:8083; "
    "media-src blob: http://127.0.0.1:8083; connect-src 'self' http://127.0.0.1:8083; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_are_served_under_a_strict_policy(service: Running, path: str) -> None:
    answer = await service.http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_everything_a_page_needs_is_here_and_nothing_is_inline(
    service: Running, path: str
) -> None:
    text = (await service.http.get(path)).text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", text)
    links = re.findall(r'(?:src|href)="([^"#]+)"', text)
    assert links
    for link in links:
        assert link.startswith("/"), link
        assert (await service.http.get(link)).status_code == 200, link


async def test_scripts_have_the_type_that_browsers_want(service: Running) -> None:
    answer = await service.http.get("/page/app.js")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    etag = answer.headers["etag"]
    again = await service.http.get("/page/app.js", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert (await service.http.head("/page/app.js")).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page/x", "/page/../config.py", "/page/%2e%2e/config.py", "/page//etc/passwd",
     "/page/..%2fconfig.py", "/docs/../config.py", "/config.py", "/api", "/api/v1/media/a/b"],
)  # fmt: skip
async def test_nothing_else_is_served(service: Running, path: str) -> None:
    answer = await service.raw(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'"code":"not_found"' in answer


async def test_methods_that_are_not_there_are_refused(service: Running) -> None:
    answer = await service.http.put("/api/v1/profile")
    assert refusal(answer) == (405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


async def test_operators_get_their_answers(service: Running) -> None:
    assert (await service.http.get("/healthz")).json()["data"] == {"status": "alive"}
    ready = (await service.http.get("/readyz")).json()["data"]
    assert ready == {"status": "ready", "backends": {"database": "ready"}}
    metrics = (await service.http.get("/metrics")).text
    assert 'userd_http_request_seconds_count{method="GET",route="/healthz",status="2xx"}' in metrics


async def test_every_answer_has_its_id_and_is_not_kept(service: Running) -> None:
    for path in ("/healthz", "/nothing", "/api/v1/profile"):
        answer = await service.http.get(path, headers={"X-Request-Id": "a b"})
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
