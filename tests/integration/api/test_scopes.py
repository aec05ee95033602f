"""Scopes of keys, as somebody sees them who makes and uses such keys."""

import httpx
import pytest
from svix.api import ApplicationIn, MessageIn, SvixAsync

from schema.scope import Scope
from tests.gateway_server import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEW_APP = {"eventType": "a.b", "payload": {}, "application": {"name": "New", "uid": "new"}}


def tokens(gateway: Gateway) -> str:
    return f"/api/v1/management/authentication/{gateway.environment_id}/api-token"


async def make(gateway: Gateway, http: httpx.AsyncClient, *scopes: str) -> dict[str, str]:
    made = await http.post(tokens(gateway), json={"name": "ci", "scopes": scopes})
    assert made.status_code == 200, made.text
    return made.json()


async def test_a_key_with_a_scope_does_that_alone_and_is_told_what_it_lacks(
    gateway: Gateway, http: httpx.AsyncClient, svix: SvixAsync
) -> None:
    await svix.application.create(ApplicationIn(name="Acme", uid="acme"))
    made = await make(gateway, http, "application:Read", "authentication:Read")
    ci = gateway.http(made["token"])

    listed = await ci.get("/api/v1/app")
    changed = await ci.post("/api/v1/app", json={"name": "x"})
    seen = (await ci.get("/api/v1/auth/whoami")).json()

    assert [app["uid"] for app in listed.json()["data"]] == ["acme"]
    assert changed.status_code == 403
    assert changed.json() == {
        "code": "insufficient access",
        "detail": "This key lacks the scope application:Write.",
    }
    assert seen["scopes"] == ["application:Read", "authentication:Read"] == made["scopes"]


async def test_other_scopes_count_at_once_and_none_is_all_of_the_environment(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    made = await make(gateway, http, "application:Read")
    ci, one = gateway.http(made["token"]), f"{tokens(gateway)}/{made['id']}"
    assert (await ci.get("/api/v1/event-type")).status_code == 403

    patched = await http.patch(one, json={"scopes": ["event-type:Read", "event-type:Read"]})
    assert (await ci.get("/api/v1/event-type")).status_code == 200
    assert (await ci.get("/api/v1/app")).status_code == 403
    renamed = await http.patch(one, json={"name": "cd"})
    freed = await http.patch(one, json={"scopes": None})

    assert patched.json()["scopes"] == renamed.json()["scopes"] == ["event-type:Read"]
    assert freed.json()["scopes"] is None
    assert (await ci.get("/api/v1/app")).status_code == 200
    assert (await ci.get("/api/v1/management/environment")).status_code == 403


@pytest.mark.parametrize("scopes", [["read:*"], ["application:read"], [], ["x" * 80], "*", [7]])
async def test_a_scope_that_nobody_keeps_to_is_refused(
    scopes: object, gateway: Gateway, http: httpx.AsyncClient
) -> None:
    said = await http.post(tokens(gateway), json={"name": "ci", "scopes": scopes})

    assert said.status_code == 422
    assert {fault["loc"][1] for fault in said.json()["detail"]} == {"scopes"}


async def test_whoever_names_an_unknown_scope_is_told_which_there_are(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    said = await http.post(tokens(gateway), json={"name": "ci", "scopes": ["application:Rule"]})

    assert said.json()["detail"][0]["msg"] == f"application:Rule is none of *, {', '.join(Scope)}"


async def test_a_key_that_publishes_makes_no_app_unless_it_may_make_apps(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    publisher = gateway.http((await make(gateway, http, "message:create"))["token"])
    both = gateway.http((await make(gateway, http, "message:create", "application:Write"))["token"])

    refused = await publisher.post("/api/v1/app/new/msg", json=NEW_APP)
    made = await both.post("/api/v1/app/new/msg", json=NEW_APP)
    published = await publisher.post("/api/v1/app/new/msg", json=NEW_APP)

    assert refused.status_code == 403
    assert refused.json()["detail"] == "This key lacks the scope application:Write."
    assert (made.status_code, published.status_code) == (202, 202)


async def test_a_key_of_an_app_publishes_and_reads_by_two_scopes(
    gateway: Gateway, http: httpx.AsyncClient, svix: SvixAsync
) -> None:
    await svix.application.create(ApplicationIn(name="Acme", uid="acme"))
    keys = "/api/v1/auth/app/acme/api-token"
    scopes = ["message:create", "message:Read"]
    made = (await http.post(keys, json={"name": "shop", "scopes": scopes})).json()
    shop = gateway.svix(made["token"])

    sent = await shop.message.create("acme", MessageIn(event_type="a.b", payload={}))

    assert (await shop.message.get("acme", sent.id)).id == sent.id
    endpoints = await gateway.http(made["token"]).get("/api/v1/app/acme/endpoint")
    assert endpoints.json()["detail"] == "This key lacks the scope endpoint:Read."
    too_much = await http.post(keys, json={"name": "x", "scopes": ["event-type:Write"]})
    assert too_much.status_code == 422
