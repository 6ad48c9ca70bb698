"""The web client's files: what is served, with which head, and what is not."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from chatapp.api.routes import build
from chatapp.api.web import DIRECTORY, web_handlers
from tests.api.checks import assert_refused, transport
from tests.api.conftest import Api, Operator, parts_of


@pytest.fixture
async def web(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    app = build(parts_of(api.world, Operator(), handlers=web_handlers()))
    async with httpx.AsyncClient(transport=transport(app), base_url="http://chat.test") as client:
        yield client


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/web/chatapp.js", "text/javascript; charset=utf-8"),
        ("/web/chatapp.d.ts", "text/plain; charset=utf-8"),
        ("/web/style/base.css", "text/css; charset=utf-8"),
        ("/web/favicon.svg", "image/svg+xml"),
        ("/web/vendor/manifest.json", "application/json"),
    ],
)
async def test_the_page_and_its_files_are_served_with_their_type(
    web: httpx.AsyncClient, address: str, kind: str
) -> None:
    response = await web.get(address)
    assert (response.status_code, response.headers["content-type"]) == (200, kind)


@pytest.mark.parametrize("address", ["/", "/web/page/app.js"])
async def test_nothing_may_come_from_or_go_to_elsewhere(web: httpx.AsyncClient, address: str) -> None:
    headers = (await web.get(address)).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' data:"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


async def test_a_file_that_is_known_is_not_sent_again(web: httpx.AsyncClient) -> None:
    first = await web.get("/web/chatapp.js")
    assert first.headers["cache-control"] == "no-cache"
    etag = first.headers["etag"]
    for known in (etag, f'"other", {etag}', etag.removeprefix("W/"), "*"):
        again = await web.get("/web/chatapp.js", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert (await web.get("/web/chatapp.js", headers={"if-none-match": '"other"'})).status_code == 200


async def test_a_file_is_compressed_for_who_can_read_it(web: httpx.AsyncClient) -> None:
    content = (DIRECTORY / "chatapp.js").read_bytes()
    plain = await web.get("/web/chatapp.js", headers={"accept-encoding": "identity"})
    assert plain.content == content
    assert "content-encoding" not in plain.headers
    async with web.stream("GET", "/web/chatapp.js", headers={"accept-encoding": "br, gzip"}) as response:
        raw = b"".join([chunk async for chunk in response.aiter_raw()])
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["vary"] == "Accept-Encoding"
    assert len(raw) < len(content) / 2
    assert gzip.decompress(raw) == content


@pytest.mark.parametrize(
    "address",
    [
        "/web/",
        "/web/nothing.js",
        "/web/../parts.py",
        "/web/%2e%2e/api/web.py",
        "/web/..%2fapi%2fweb.py",
        "/web//etc/passwd",
        "/web/style",
        "/web/%00",
    ],
)
async def test_nothing_else_is_below_the_address(web: httpx.AsyncClient, address: str) -> None:
    assert_refused(await web.get(address), 404, "not found", "not_found")


async def test_without_the_web_client_there_is_no_page(api: Api) -> None:
    for address in ("/", "/web/chatapp.js"):
        assert_refused(await api.anonymous.get(f"http://chat.test{address}"), 404, "not found", "not_found")
