from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from chatapp.api.routes import build
from chatapp.errors import Overloaded, Unavailable
from tests.api.checks import assert_refused, transport
from tests.api.conftest import Api, Operator, Person, parts_of
from tests.api.test_auth import PROTECTED


def at_top(api: Api, path: str) -> str:
    return f"http://chat.test{path}"


async def answer(api: Api, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    return await api.anonymous.request(method, at_top(api, path), headers=headers)


# -- health -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["", "/api/v1"])
async def test_the_replica_says_that_it_is_there(api: Api, base: str) -> None:
    body = (await answer(api, f"{base}/health")).json()
    assert (body["status"], body["service"]) == ("ok", "chat-app-backend")
    assert isinstance(body["timestamp"], int)
    assert (await answer(api, f"{base}/health/live")).status_code == 200


@pytest.mark.parametrize("base", ["", "/api/v1"])
async def test_a_ready_replica_tells_its_latencies(api: Api, base: str) -> None:
    response = await answer(api, f"{base}/health/ready")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "draining": False,
        "checks": {
            "postgres": {"ok": True, "required": True, "latency_ms": 1.0},
            "redis": {"ok": True, "required": False, "latency_ms": 1.0},
        },
    }


async def test_a_replica_that_drains_is_not_ready(api: Api) -> None:
    api.operator.draining = True
    response = await answer(api, "/health/ready")
    assert (response.status_code, response.json()["status"]) == (503, "draining")
    assert response.headers["retry-after"] == "1"
    assert (await answer(api, "/health/live")).status_code == 200


async def away() -> float:
    raise Unavailable


@pytest.mark.parametrize(("name", "status", "word"), [("postgres", 503, "unavailable"), ("redis", 200, "degraded")])
async def test_what_is_away_is_told(api: Api, name: str, status: int, word: str) -> None:
    api.operator.latencies[name] = away
    response = await answer(api, "/health/ready")
    assert (response.status_code, response.json()["status"]) == (status, word)
    assert response.json()["checks"][name] == {"ok": False, "required": name == "postgres", "latency_ms": None}


async def test_metrics_are_in_the_text_format(api: Api) -> None:
    response = await answer(api, "/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert "chatapp_connections 7.0" in response.text


# -- every answer -----------------------------------------------------------------------------------------------------


async def some_answers(api: Api) -> list[httpx.Response]:
    return [
        await answer(api, "/health"),
        await answer(api, "/nowhere"),
        await answer(api, "/api/v1/auth/login"),
        await answer(api, "/api/v1/auth/me"),
        await answer(api, "/api/v1/auth/me", "OPTIONS"),
        await answer(api, "/api/v1/auth/register", "POST"),
    ]


async def test_every_answer_has_an_id_and_is_kept_nowhere(api: Api) -> None:
    for response in await some_answers(api):
        assert len(response.headers["x-request-id"]) == 32
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 64])
async def test_a_well_formed_id_is_taken_over(api: Api, given: str) -> None:
    assert (await answer(api, "/health", **{"x-request-id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "<script>"])
async def test_another_id_is_replaced(api: Api, given: str) -> None:
    assert (await answer(api, "/health", **{"x-request-id": given})).headers["x-request-id"] != given


async def test_unknown_addresses_and_methods_are_refused_in_the_same_shape(api: Api, alice: Person) -> None:
    assert_refused(await answer(api, "/nowhere"), 404, "not found", "not_found")
    assert_refused(await alice.client.get("/users/1/2"), 404, code="not_found")
    refused = await alice.client.get("/auth/login")
    assert_refused(refused, 405, "method not allowed", "method_not_allowed")
    assert "POST" in refused.headers["allow"]


async def test_an_address_tells_all_its_methods(api: Api, alice: Person) -> None:
    for path, methods in (
        ("/users/1", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("/chats", "GET, HEAD, OPTIONS, POST"),
        ("/auth/sessions", "DELETE, GET, HEAD, OPTIONS"),
    ):
        assert (await alice.client.options(path)).headers["allow"] == methods


async def test_what_nobody_foresaw_is_logged_with_the_id_and_not_told(
    api: Api, alice: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def explode(*_: object, **__: object) -> None:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(api.world.users, "get", explode)
    with caplog.at_level(logging.ERROR):
        response = await alice.client.get("/users/1", headers={"x-request-id": "find-me"})
    assert_refused(response, 500, "internal error", "internal")
    (record,) = caplog.records
    assert record.request_id == "find-me"  # type: ignore[attr-defined]
    assert "the secret is 42" in caplog.text


@pytest.mark.parametrize(("error", "after"), [(Unavailable(), "1"), (Overloaded(7.2), "8")])
async def test_what_is_away_says_when_to_come_back(
    api: Api, alice: Person, monkeypatch: pytest.MonkeyPatch, error: Unavailable, after: str
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(api.world.users, "get", fail)
    response = await alice.client.get("/users/1")
    assert_refused(response, 503, code=error.code_word)
    assert response.headers["retry-after"] == after


async def test_a_body_that_never_ends_is_given_up(api: Api) -> None:
    app = build(parts_of(api.world, Operator(), body_timeout_s=0.05))

    async def forever() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with httpx.AsyncClient(transport=transport(app), base_url="http://chat.test/api/v1") as client:
        response = await client.post("/auth/login", content=forever(), headers={"content-type": "application/json"})
    assert_refused(response, 408, code="timeout")


# -- browsers ---------------------------------------------------------------------------------------------------------


async def preflight(app: Any, origin: str) -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type, idempotency-key",
    }
    async with httpx.AsyncClient(transport=transport(app), base_url="http://chat.test") as client:
        return await client.options("/api/v1/messages", headers=headers)


async def test_any_origin_may_ask_by_default_but_without_cookies(api: Api) -> None:
    response = await preflight(api.app, "https://web.example")
    assert response.is_success
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers
    allowed = response.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("authorization", "content-type", "idempotency-key"))
    refused = await answer(api, "/api/v1/auth/me", origin="https://web.example")
    assert refused.headers["access-control-allow-origin"] == "*"
    assert "retry-after" in refused.headers["access-control-expose-headers"].lower()


async def test_only_the_named_origins_may_ask(api: Api) -> None:
    app = build(parts_of(api.world, Operator(), allowed_origins=("https://web.example",)))
    allowed = await preflight(app, "https://web.example")
    assert allowed.headers["access-control-allow-origin"] == "https://web.example"
    for origin in ("https://evil.example", "http://web.example", "https://web-example", "null", "http://["):
        refused = await preflight(app, origin)
        assert refused.status_code < 500
        assert "access-control-allow-origin" not in refused.headers, origin


# -- the description --------------------------------------------------------------------------------------------------


async def described(api: Api) -> dict[str, Any]:
    response = await answer(api, "/schema/openapi.json")
    assert response.status_code == 200
    return dict(response.json())


async def test_every_route_is_described(api: Api) -> None:
    schema = await described(api)
    assert schema["info"]["title"] == "chatapp"
    operations = [
        (method.upper(), path, operation)
        for path, item in schema["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict) and "responses" in operation
    ]
    for method, path, operation in operations:
        where = (method, path)
        assert operation["summary"], where
        assert operation["description"], where
        assert any(status.startswith("2") for status in operation["responses"]), where
        names = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert all(f"{{{name}}}" in path for name in names), where
        assert path.count("{") == len(names), where
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert content["example"], where
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                assert "example" in content or media_type == "text/plain", (where, status)
        refused = {status for status in operation["responses"] if status >= "400"}
        assert "503" in refused, where
        assert "401" in refused or not operation.get("security"), where
    protected = {(method, path) for method, path, operation in operations if operation.get("security")}
    assert len(protected) == len(PROTECTED)


async def test_bodies_are_described_for_json_and_forms(api: Api) -> None:
    schema = await described(api)
    content = schema["paths"]["/api/v1/chats"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "application/x-www-form-urlencoded", "multipart/form-data"}
    assert set(content["application/json"]["schema"]["required"]) == {"is_group", "member_ids"}


async def test_refusals_are_described_by_name(api: Api) -> None:
    schema = await described(api)
    responses = schema["paths"]["/api/v1/messages"]["post"]["responses"]
    assert set(responses) == {"200", "201", "400", "401", "403", "409", "413", "415", "429", "503"}
    for status, response in responses.items():
        if status not in ("200", "201"):
            name = response["$ref"].removeprefix("#/components/responses/")
            assert schema["components"]["responses"][name]["content"]["application/json"]["example"]["error"]


async def test_the_page_needs_nothing_from_elsewhere(api: Api) -> None:
    page = await answer(api, "/schema")
    assert page.status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    for path in ("swagger-ui-bundle.js", "swagger-ui.css", "start.js"):
        assert f"/schema/{path}" in page.text
        asset = await answer(api, f"/schema/{path}")
        assert asset.status_code == 200
        assert asset.content


async def test_the_description_can_be_left_out(api: Api) -> None:
    app = build(parts_of(api.world, Operator(), openapi=False))
    async with httpx.AsyncClient(transport=transport(app), base_url="http://chat.test") as client:
        assert (await client.get("/schema/openapi.json")).status_code == 404
