"""The pages: files of two folders, read once, served as they are under a strict policy."""

# No postponed annotations here: FastAPI could not resolve those of functions in functions.

import dataclasses
import hashlib
import mimetypes
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from starlette.responses import Response

from user_service.errors import NotFound
from user_service.http_api.headers import page_policy

_INDEX = "index.html"
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_TEXT = ("text/", "application/manifest+json", "image/svg+xml")


@dataclasses.dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


def page_routes(media_public_url: str) -> APIRouter:
    """The page of people at `/`, its files under `/page/`; the documentation at `/docs`."""
    router = APIRouter(include_in_schema=False)
    policy = {"content-security-policy": page_policy(media_public_url)[1].decode()}
    page = _read_folder("page")
    docs = _read_folder("docs_page")

    def serve(files: Mapping[str, _File], name: str, request: Request) -> Response:
        file = files.get(name)
        if file is None:
            raise NotFound
        headers = {"etag": file.etag, "cache-control": "no-cache", **policy}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers={**headers, "content-type": file.media_type})

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return serve(page, _INDEX, request)

    @router.api_route("/page/{name:path}", methods=["GET", "HEAD"])
    async def file_of_page(name: str, request: Request) -> Response:
        return serve(page, name, request)

    @router.api_route("/favicon.ico", methods=["GET", "HEAD"])
    async def favicon(request: Request) -> Response:
        return serve(page, "favicon.svg", request)

    @router.api_route("/docs", methods=["GET", "HEAD"])
    async def docs_index(request: Request) -> Response:
        return serve(docs, _INDEX, request)

    @router.api_route("/docs/{name}", methods=["GET", "HEAD"])
    async def file_of_docs(name: str, request: Request) -> Response:
        return serve(docs, name, request)

    return router


def _read_folder(name: str) -> dict[str, _File]:
    """Every file of a folder of this package, by its path below it."""
    folder = resources.files("user_service") / name
    return dict(_below(folder, "")) if folder.is_dir() else {}


def _below(folder: Traversable, prefix: str) -> list[tuple[str, _File]]:
    files: list[tuple[str, _File]] = []
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            files += _below(entry, f"{prefix}{entry.name}/")
        else:
            files.append((f"{prefix}{entry.name}", _file(entry)))
    return files


def _file(entry: Traversable) -> _File:
    content = entry.read_bytes()
    suffix = "." + entry.name.rpartition(".")[2]
    media_type = _TYPES.get(suffix) or mimetypes.guess_type(entry.name)[0]
    media_type = media_type or "application/octet-stream"
    if media_type.startswith(_TEXT):
        media_type += "; charset=utf-8"
    return _File(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
