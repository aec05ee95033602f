"""Transformations through the official client: set, shown, tried, and run for what is published."""

import json

import httpx
import pytest
import pytest_asyncio
from standardwebhooks.webhooks import Webhook
from svix.api import (
    ApplicationIn,
    EndpointIn,
    EndpointTransformationPatch,
    MessageIn,
    SvixAsync,
)

from schema import event
from schema.api_key import Capability, KeyKind
from tests.dispatching import Running, World, eventually
from tests.gateway_server import Gateway, make_key
from tests.receiver import Receiver
from tests.tenants import Desk

pytestmark = pytest.mark.asyncio(loop_scope="module")
lent_to_a_test = pytest_asyncio.fixture(loop_scope="module")

SETTINGS = "/api/v1/management/environment-settings"
CODE = "function handler(webhook) {\n  return webhook;\n}"


@lent_to_a_test
async def endpoint_id(svix: SvixAsync, receiver: Receiver) -> str:
    await svix.application.create(ApplicationIn(name="Tenant", uid="tenant"))
    made = await svix.endpoint.create(
        "tenant", EndpointIn(url=receiver.url("/in"), uid="one", headers={"x-own": "kept"})
    )
    return made.id


@lent_to_a_test
async def path(endpoint_id: str) -> str:
    return f"/api/v1/app/tenant/endpoint/{endpoint_id}/transformation"


async def shown(http: httpx.AsyncClient, path: str) -> dict[str, object]:
    found: dict[str, object] = (await http.get(path)).json()
    found.pop("updatedAt")
    return found


async def settled(world: World, message_id: str) -> None:
    """Wait until nothing is owed of a message to its one endpoint."""

    async def is_settled() -> bool:
        rows = await world.pool.fetch(
            "SELECT state FROM delivery WHERE message_id = $1", message_id
        )
        return [row["state"] for row in rows] in (["delivered"], ["cancelled"])

    await eventually(is_settled)


async def fault(http: httpx.AsyncClient, path: str, **body: object) -> tuple[list[str], str]:
    said = await http.patch(path, json=body)
    assert said.status_code == 422, said.text
    [one] = said.json()["detail"]
    return one["loc"], one["msg"]


async def test_the_client_sets_and_reads_a_transformation(
    svix: SvixAsync, endpoint_id: str
) -> None:
    before = await svix.endpoint.transformation.get("tenant", endpoint_id)
    await svix.endpoint.transformation.patch(
        "tenant", "one", EndpointTransformationPatch(code=CODE, enabled=True, variables={"a": "b"})
    )
    after = await svix.endpoint.transformation.get("tenant", endpoint_id)

    assert (before.code, before.enabled, before.variables, before.updated_at) == (
        None,
        False,
        None,
        None,
    )
    assert (after.code, after.enabled, after.variables) == (CODE, True, {"a": "b"})
    assert after.updated_at is not None


async def test_a_patch_changes_what_it_names_and_null_clears(
    http: httpx.AsyncClient, path: str
) -> None:
    await http.patch(path, json={"code": CODE, "enabled": True, "variables": {"a": "b"}})

    for body, want in (
        ({}, {"code": CODE, "enabled": True, "variables": {"a": "b"}}),
        ({"variables": {"c": "d"}}, {"code": CODE, "enabled": True, "variables": {"c": "d"}}),
        ({"variables": None}, {"code": CODE, "enabled": True, "variables": None}),
        ({"enabled": False}, {"code": CODE, "enabled": False, "variables": None}),
        ({"code": None}, {"code": None, "enabled": False, "variables": None}),
        ({"enabled": True}, {"code": None, "enabled": True, "variables": None}),
    ):
        said = await http.patch(path, json=body)

        assert (said.status_code, said.content) == (204, b"")
        assert await shown(http, path) == want


async def test_code_that_cannot_be_read_is_refused_with_its_line(
    http: httpx.AsyncClient, path: str
) -> None:
    assert await fault(http, path, code="function handler(w) {\n  return w..x;\n}") == (
        ["body", "code"],
        "SyntaxError: expecting field name (line 2)",
    )
    assert await fault(http, path, code="const other = 1;") == (
        ["body", "code"],
        "the code defines no function `handler`",
    )
    assert await fault(http, path, code="while (true) {}") == (
        ["body", "code"],
        "the code took longer than 100 ms",
    )
    assert (await fault(http, path, code="short"))[0] == ["body", "code"]
    assert (await fault(http, path, code="x" * 51_201))[0] == ["body", "code"]
    assert (await fault(http, path, enabled=None))[0] == ["body", "enabled"]
    assert (await fault(http, path, variables={"a": 1}))[0] == ["body", "variables", "a"]
    assert (await fault(http, path, variables={"a": "x" * 4_097}))[0] == ["body", "variables"]
    assert await shown(http, path) == {"code": None, "enabled": False, "variables": None}


async def test_variables_are_sealed_and_what_is_done_with_them_is_audited(
    http: httpx.AsyncClient, path: str, desk: Desk, endpoint_id: str
) -> None:
    await http.get(path)
    await http.patch(path, json={"code": CODE, "variables": {"token": "s3cret"}})
    await http.get(path)

    stored = await desk.link.fetchval(
        "SELECT variables FROM endpoint_transformation WHERE endpoint_id = $1", endpoint_id
    )
    assert b"s3cret" not in stored
    told = await desk.link.fetch(
        "SELECT action, detail::text FROM audit WHERE object = $1 AND action <> 'endpoint.create'"
        " ORDER BY id",
        endpoint_id,
    )
    assert [row["action"] for row in told] == [
        "endpoint.set_transformation",
        "endpoint.reveal_variables",
    ]
    assert not any("s3cret" in row["detail"] for row in told)


async def test_a_deleted_endpoint_leaves_no_code_behind(
    svix: SvixAsync, http: httpx.AsyncClient, path: str, desk: Desk, endpoint_id: str
) -> None:
    await http.patch(path, json={"code": CODE})
    await svix.endpoint.delete("tenant", endpoint_id)

    assert (await http.get(path)).status_code == 404
    assert not await desk.link.fetchval(
        "SELECT count(*) FROM endpoint_transformation WHERE endpoint_id = $1", endpoint_id
    )


async def test_a_simulation_says_what_would_be_sent(http: httpx.AsyncClient, path: str) -> None:
    code = """
        function handler(w) {
          w.method = "PATCH"; w.url += "?x"; w.headers = {"x-a": w.variables.a};
          w.payload = {...w.payload, of: [w.eventType, w.channels]};
          return w;
        }
    """
    body = {
        "code": code,
        "eventType": "a.b",
        "channels": ["eu"],
        "payload": {"n": 1},
        "variables": {"a": "b"},
    }

    said = await http.post(f"{path}/simulate", json=body)

    found = said.json()
    assert said.status_code == 200
    assert json.loads(found.pop("payload")) == {"n": 1, "of": ["a.b", ["eu"]]}
    assert found.pop("url").endswith("/in?x")
    assert found == {"method": "PATCH", "headers": {"x-a": "b"}, "cancel": False}


@pytest.mark.parametrize(
    ("code", "msg"),
    [
        ("function handler(w) {\n return w.a.b; }", "(line 2)"),
        ("function handler(w) { w.url = 'http://169.254.169.254/'; return w; }", "not allowed"),
        ("function handler(w) { w.headers = {Host: 'x'}; return w; }", "Host is reserved"),
        ("function handler(w) { w.method = 'GET'; return w; }", "POST, PUT or PATCH"),
    ],
)
async def test_a_simulation_of_what_could_not_be_sent_says_why(
    http: httpx.AsyncClient, path: str, code: str, msg: str
) -> None:
    body = {"code": code, "eventType": "a.b", "payload": {}}

    said = await http.post(f"{path}/simulate", json=body)

    assert said.status_code == 422
    [one] = said.json()["detail"]
    assert one["loc"] == ["body", "code"]
    assert msg in one["msg"]


async def test_portals_are_let_in_by_the_environment_and_their_capability(
    gateway: Gateway, http: httpx.AsyncClient, path: str
) -> None:
    app_id = (await http.get("/api/v1/app/tenant")).json()["id"]

    async def status(*held: Capability) -> int:
        key = await make_key(
            gateway.pool,
            gateway.environment_id,
            kind=KeyKind.PORTAL,
            app_id=app_id,
            capabilities=(Capability.VIEW_BASE, *held),
        )
        return (await gateway.http(key).get(path)).status_code

    assert await status(Capability.MANAGE_TRANSFORMATIONS) == 403
    await http.patch(SETTINGS, json={"enableTransformations": True})
    assert await status(Capability.MANAGE_TRANSFORMATIONS) == 200
    assert await status(Capability.MANAGE_ENDPOINT) == 403


@pytest.mark.usefixtures("running")
async def test_what_is_published_is_transformed_from_the_next_message_on(
    svix: SvixAsync, http: httpx.AsyncClient, path: str, receiver: Receiver, endpoint_id: str
) -> None:
    code = """
        const handler = ({ payload, transformationsParams }) => ({
          headers: { "content-type": "text/plain" },
          payload: `${payload.who} ${transformationsParams.mood}`,
        });
    """
    secret = (await svix.endpoint.get_secret("tenant", endpoint_id)).key

    async def publish() -> None:
        await svix.message.create(
            "tenant",
            MessageIn(
                event_type="a.b",
                payload={"who": "Åsa"},
                transformations_params={"mood": "glad ☀"},
            ),
        )

    await publish()
    await receiver.wait_for(1)
    await http.patch(path, json={"code": code, "enabled": True})
    await publish()
    first, second = await receiver.wait_for(2)

    assert json.loads(first.body) == {"who": "Åsa"}
    assert second.body.decode() == "Åsa glad ☀"
    assert second.header("content-type") == "text/plain"
    assert second.header("x-own") == "kept"
    Webhook(secret).verify(second.body, dict(second.headers), json_parse=False)


@pytest.mark.usefixtures("running")
async def test_what_was_called_off_is_shown_as_cancelled_or_as_success(
    svix: SvixAsync, http: httpx.AsyncClient, path: str, world: World
) -> None:
    await http.patch(
        path, json={"code": "function handler(w) { return {cancel: true}; }", "enabled": True}
    )
    made = await svix.message.create("tenant", MessageIn(event_type="a.b", payload={}))
    await settled(world, made.id)

    listed = f"/api/v1/app/tenant/msg/{made.id}/endpoint"
    [plain] = (await http.get(listed, params={"expanded_statuses": "false"})).json()["data"]
    [expanded] = (await http.get(listed)).json()["data"]
    assert (plain["status"], expanded["status"]) == (0, 4)


async def test_parameters_are_kept_with_the_message_and_forgotten_with_its_payload(
    svix: SvixAsync, running: Running, world: World, endpoint_id: str
) -> None:
    assert running
    assert endpoint_id
    made = await svix.message.create(
        "tenant",
        MessageIn(event_type="a.b", payload={}, transformations_params={"mood": "glad"}),
    )
    await settled(world, made.id)

    async def kept() -> object:
        return await world.pool.fetchval("SELECT params FROM message WHERE id = $1", made.id)

    assert await kept() == '{"mood":"glad"}'
    await svix.message.expunge_content("tenant", made.id)
    assert await kept() is None


@pytest.mark.parametrize("params", ["[1]", "{", '{"a":"%s"}' % ("x" * event.MAX_PARAMS_BYTES)])
@pytest.mark.usefixtures("running", "endpoint_id")
async def test_parameters_by_nats_are_an_object_of_a_bounded_size(
    running: Running, world: World, gateway: Gateway, params: str
) -> None:
    headers = {event.ENVIRONMENT: gateway.environment_id, event.PARAMS: params}
    number = await world.pool.fetchval("SELECT count(*) FROM rejected_event")

    await running.bus.jetstream().publish("events.tenant.a.b", b"{}", headers=headers)

    rejected = await world.rejected(number + 1)
    assert rejected[-1]["reason"] == "bad_params"
