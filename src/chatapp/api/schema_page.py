"""The page at ``/schema``: Swagger UI, all of it served from here, so that it works without the internet.

Its files come from the package ``swagger-ui-bundle-v2``. Where that is not installed there is no page, only
``/schema/openapi.json``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from litestar import MediaType, Request, Response, Router, get
from litestar.openapi.plugins import OpenAPIRenderPlugin

from chatapp.api.asyncapi import asyncapi, asyncapi_yaml

_PACKAGE = "swagger_ui_bundle"
_SCRIPT, _STYLE = "swagger-ui-bundle.js", "swagger-ui.css"
# Swagger UI sets style attributes, and has its images as data: addresses.
_CONTENT_SECURITY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HTML = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>chatapp</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/schema/{_STYLE}">
</head>
<body>
<p>The socket at <code>/ws</code> is described as AsyncAPI 3:
<a href="/schema/asyncapi.json">JSON</a>, <a href="/schema/asyncapi.yaml">YAML</a>.</p>
<div id="page"></div>
<script src="/schema/{_SCRIPT}"></script>
<script src="/schema/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "/schema/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
"""


def schema_router() -> Router:
    """Where the page and the descriptions are, that of the socket too."""
    described = asyncapi()

    @get("/asyncapi.json", sync_to_thread=False)
    def socket_json() -> dict[str, Any]:
        return described

    @get("/asyncapi.yaml", sync_to_thread=False)
    def socket_yaml() -> Response[str]:
        return Response(asyncapi_yaml(), media_type="application/yaml; charset=utf-8")

    return Router(
        "/schema",
        route_handlers=[socket_json, socket_yaml],
        include_in_schema=False,
        response_headers={"Content-Security-Policy": _CONTENT_SECURITY},
    )


def schema_page() -> list[OpenAPIRenderPlugin]:
    """The page, where its files are installed."""
    files = _bundle()
    return [] if files is None else [_Page(files)]


class _Page(OpenAPIRenderPlugin):
    def __init__(self, files: Path) -> None:
        super().__init__(path="/")
        self._files = files

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return _HTML.encode()

    def receive_router(self, router: Router) -> None:
        script, style = (self._files / _SCRIPT).read_bytes(), (self._files / _STYLE).read_bytes()

        @get(f"/{_SCRIPT}", sync_to_thread=False)
        def swagger_script() -> Response[bytes]:
            return Response(script, media_type="text/javascript; charset=utf-8")

        @get(f"/{_STYLE}", sync_to_thread=False)
        def swagger_style() -> Response[bytes]:
            return Response(style, media_type=MediaType.CSS)

        @get("/start.js", sync_to_thread=False)
        def start_script() -> Response[bytes]:
            return Response(_START.encode(), media_type="text/javascript; charset=utf-8")

        for handler in (swagger_script, swagger_style, start_script):
            router.register(handler)


def _bundle() -> Path | None:
    """The directory of the bundle's files; its name has their version."""
    package = find_spec(_PACKAGE)
    if package is None or package.origin is None:
        return None
    found = sorted((Path(package.origin).parent / "vendor").glob(f"swagger-ui-5.*/{_SCRIPT}"))
    return found[-1].parent if found else None
