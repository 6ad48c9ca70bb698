"""The web client: the files of ``chatapp/web``, read once, served from memory, and nothing else under their addresses.

The page is at ``/``, everything that it loads below ``/web/``. Nothing is built, and nothing comes from elsewhere: the
policy sent with each file forbids it.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from chatapp.errors import NotFound

DIRECTORY = Path(__file__).parents[1] / "web"
PAGE = "index.html"
CONTENT_SECURITY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Nothing may turn text into markup or code, not even by mistake.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Kept, but asked for each time: after an upgrade nobody has half of the old page.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}
_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".ts": "text/plain",
    ".txt": "text/plain",
    ".json": "application/json",
}


class File(Struct, frozen=True):
    """One file, ready to be sent."""

    content: bytes
    compressed: bytes
    media_type: str
    etag: str
    """Weak: the content is the same in either encoding."""


def web_handlers(directory: Path = DIRECTORY) -> Sequence[HTTPRouteHandler]:
    """The handlers of the page and its files."""
    files = read_files(directory)

    @get("/", include_in_schema=False, sync_to_thread=False)
    def web_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return _answer(files[PAGE], request)

    @get("/web/{path:path}", include_in_schema=False, sync_to_thread=False)
    def web_file(request: Request[Any, Any, Any]) -> Response[bytes]:
        found = files.get(str(request.path_params["path"]).removeprefix("/"))
        if found is None:
            raise NotFound("not found")
        return _answer(found, request)

    return (web_page, web_file)


def read_files(directory: Path) -> Mapping[str, File]:
    """Every file below the directory whose type is known, by its path there."""
    return {
        path.relative_to(directory).as_posix(): _file(path.read_bytes(), _TYPES[path.suffix])
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.suffix in _TYPES
    }


def _file(content: bytes, media_type: str) -> File:
    digest = hashlib.sha256(content).hexdigest()[:32]
    return File(content, gzip.compress(content, mtime=0), media_type, f'W/"{digest}"')


def _answer(file: File, request: Request[Any, Any, Any]) -> Response[bytes]:
    headers = {**_HEADERS, "ETag": file.etag}
    known = request.headers.get("if-none-match", "")
    if known == "*" or file.etag.removeprefix("W/") in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(b"", status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.compressed, headers={**headers, "Content-Encoding": "gzip"}, media_type=file.media_type)
    return Response(file.content, headers=headers, media_type=file.media_type)
