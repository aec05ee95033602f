"""Keys of group admins: made, listed, renamed, ended, and what they do and do not."""

import httpx
import pytest

from tests.gateway_server import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = "/api/v1/auth/org-group-admin-token"
ENVIRONMENTS = "/api/v1/management/environment"


def tokens(environment_id: str) -> str:
    return f"/api/v1/management/authentication/{environment_id}/api-token"


async def make(http: httpx.AsyncClient, **fields: object) -> dict[str, str]:
    made = await http.post(KEYS, json={"name": "terraform", **fields})
    assert made.status_code == 201, made.text
    return made.json()


async def ids(http: httpx.AsyncClient) -> list[str]:
    return [key["id"] for key in (await http.get(KEYS, params={"limit": 250})).json()["data"]]


async def test_a_group_admin_sees_to_every_environment_and_reaches_no_app(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    token = (await make(http))["token"]
    admin = gateway.http(f"{token}|{gateway.environment_id}")

    made = await admin.post("/api/v1/event-type", json={"name": "a.b", "description": ""})
    environment = await admin.post(ENVIRONMENTS, json={"name": "New", "type": "development"})
    refused = [
        (await admin.get(path)).status_code
        for path in ("/api/v1/app", "/api/v1/dead-letter", "/api/v1/endpoint-health", KEYS)
    ]
    seen = (await admin.get("/api/v1/auth/whoami")).json()

    assert (made.status_code, environment.status_code) == (201, 201)
    assert (await http.get("/api/v1/event-type/a.b")).status_code == 200
    assert refused == [403] * 4
    assert (seen["envId"], seen["kind"]) == (gateway.environment_id, "group-admin")


async def test_a_group_admin_makes_keys_of_environments_and_none_that_may_do_everything(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    admin = gateway.http((await make(http))["token"])
    path = tokens(gateway.environment_id)
    root = (await http.post(path, json={"name": "root", "scopes": ["*"]})).json()

    made = await admin.post(path, json={"name": "ci"})
    one = f"{path}/{made.json()['id']}"
    refused = [
        await admin.post(path, json={"name": "root", "scopes": ["*"]}),
        await admin.patch(one, json={"scopes": ["*"]}),
        await admin.patch(f"{path}/{root['id']}", json={"scopes": ["message:Read"]}),
        await admin.put(f"{path}/{root['id']}", json={"name": "mine"}),
        await admin.post(f"{path}/{root['id']}/expire"),
    ]

    assert made.status_code == 200
    assert [said.status_code for said in refused] == [403] * 5
    assert (await admin.post(f"{one}/expire")).status_code == 204
    assert (await gateway.http(root["token"]).get("/api/v1/app")).status_code == 200


async def test_keys_of_group_admins_are_listed_apart_renamed_and_ended(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    made, other = await make(http), await make(http, expiry=3_600)
    admin = gateway.http(made["token"])
    assert (await admin.get("/api/v1/management/environment")).status_code == 200

    renamed = await http.put(f"{KEYS}/{made['id']}", json={"name": "ci"})
    listed = await ids(http)
    ended = await http.post(f"{KEYS}/{made['id']}/expire")

    assert renamed.json()["name"] == "ci"
    assert renamed.json()["censoredToken"] == f"hk_***{made['token'][-4:]}"
    assert {made["id"], other["id"]} <= set(listed)
    assert other["expiresAt"] is not None
    assert ended.status_code == 204
    assert (await admin.get("/api/v1/management/environment")).status_code == 401
    assert made["id"] not in await ids(http)
    operators = (await http.get(tokens(gateway.environment_id))).json()["data"]
    assert other["id"] not in [key["id"] for key in operators]
    assert (await http.put(f"{KEYS}/{operators[0]['id']}", json={"name": "x"})).status_code == 404


async def test_there_are_no_members(http: httpx.AsyncClient) -> None:
    said = await http.get("/api/v1/management/organization/member", params={"limit": 5})

    assert said.status_code == 200
    assert said.json() == {"data": [], "iterator": None, "done": True}
