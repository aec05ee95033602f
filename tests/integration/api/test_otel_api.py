"""The collector of an environment: set, shown, removed, and tried at once."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from schema.otel import ASK
from tests.collectors import spans_in, staged
from tests.dispatching import eventually, publish
from tests.gateway_server import Gateway, make_key
from tests.receiver import Receiver, answer, hang
from tests.rows import another_moment
from tests.tenants import Desk

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = "/api/v1/management/environment-settings"
CONFIG = f"{SETTINGS}/customer-otel"
NONE = {
    "url": None, "additionalHeaders": None, "svixManaged": False, "exportedAt": None,
    "failures": 0, "nextTryAt": None, "lastError": None, "lastErrorAt": None, "waiting": 0,
}  # fmt: skip
COLLECTOR = {"url": "https://otel.example.com", "additionalHeaders": {"Api-Key": "s3cret"}}


async def test_a_collector_is_shown_as_it_was_set_until_it_is_removed(
    http: httpx.AsyncClient,
) -> None:
    assert (await http.get(CONFIG)).json() == NONE

    assert (await http.put(CONFIG, json=COLLECTOR)).status_code == 204
    assert (await http.get(CONFIG)).json() == NONE | COLLECTOR
    assert (await http.put(CONFIG, json={"url": "https://other.example.com"})).status_code == 204
    assert (await http.get(CONFIG)).json() == NONE | {"url": "https://other.example.com"}
    for _ in range(2):
        assert (await http.delete(CONFIG)).status_code == 204
    assert (await http.get(CONFIG)).json() == NONE


async def test_to_set_a_collector_switches_the_export_on_and_to_remove_it_off(
    http: httpx.AsyncClient,
) -> None:
    await http.patch(SETTINGS, json={"displayName": "Acme"})
    switched = []

    for change in (http.put(CONFIG, json=COLLECTOR), http.delete(CONFIG)):
        await change
        settings = (await http.get(SETTINGS)).json()
        switched.append((settings["enableOtlp"], settings["displayName"]))

    assert switched == [(True, "Acme"), (False, "Acme")]


async def test_headers_are_sealed_at_rest_and_who_sees_and_sets_them_is_audited(
    desk: Desk, http: httpx.AsyncClient
) -> None:
    for ask in (http.put(CONFIG, json=COLLECTOR), http.get(CONFIG), http.delete(CONFIG)):
        await ask
        await another_moment()
    await http.get(CONFIG)

    rows = await desk.link.fetch(
        "SELECT action, detail FROM audit WHERE environment_id = $1 ORDER BY id",
        desk.gateway.environment_id,
    )
    told = [(row["action"], row["detail"]) for row in rows if row["action"].startswith("otel.")]
    assert told == [
        ("otel.set", {"host": "otel.example.com", "names": ["Api-Key"]}),
        ("otel.reveal_headers", {}),
        ("otel.delete", {}),
    ]
    await http.put(CONFIG, json=COLLECTOR)
    row = await desk.link.fetchrow("SELECT * FROM otel_config")
    assert b"s3cret" not in row["headers"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": "http://10.1.2.3:4318"}, "url"),
        ({"url": "ftp://otel.example.com"}, "url"),
        ({"url": "https://otel.example.com", "additionalHeaders": {"Host": "x"}},
         "additionalHeaders"),
        ({"url": "https://otel.example.com", "additionalHeaders": {"a": "b\r\nc: d"}},
         "additionalHeaders"),
        ({"url": "https://otel.example.com", "additionalHeaders": ["a"]}, "additionalHeaders"),
    ],
)  # fmt: skip
async def test_what_cannot_be_a_collector_is_refused(
    http: httpx.AsyncClient, body: dict[str, Any], where: str
) -> None:
    for method, path, sent, loc in (
        ("PUT", CONFIG, body, ["body", where]),
        ("POST", f"{CONFIG}/test", {"otelConfig": body}, ["body", "otelConfig", where]),
    ):
        said = await http.request(method, path, json=sent)

        assert (said.status_code, said.json()["detail"][0]["loc"]) == (422, loc)


async def test_each_environment_has_a_collector_of_its_own(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    made = await http.post(
        "/api/v1/management/environment", json={"name": "other", "type": "development"}
    )
    await http.put(CONFIG, json=COLLECTOR)

    other = gateway.http(f"{gateway.key}|{made.json()['id']}")
    assert (await other.get(CONFIG)).json() == NONE
    await other.delete(CONFIG)

    assert (await http.get(CONFIG)).json()["url"] == COLLECTOR["url"]


async def test_a_key_of_one_environment_alone_sees_no_collector(gateway: Gateway) -> None:
    http = gateway.http(await make_key(gateway.pool, gateway.environment_id))

    assert (await http.get(CONFIG)).status_code == 403


@pytest.mark.usefixtures("running")
async def test_a_span_is_sent_at_once_to_the_collector_that_is_given_or_set(
    gateway: Gateway, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    given = {"url": receiver.url("/given"), "additionalHeaders": {"Api-Key": "given"}}
    await http.put(
        CONFIG, json={"url": receiver.url("/set"), "additionalHeaders": {"Api-Key": "set"}}
    )

    tried = await http.post(f"{CONFIG}/test", json={"otelConfig": given})
    tried_again = await http.post(f"{CONFIG}/test", json={})

    assert [tried.status_code, tried_again.status_code] == [204, 204]
    first, second = receiver.requests
    assert (first.path, first.header("api-key")) == ("/given", "given")
    assert (second.path, second.header("api-key")) == ("/set", "set")
    (span,) = spans_in(first)
    assert span.name == "test"
    assert span.attributes[0].value.string_value == gateway.environment_id
    assert (await http.get(CONFIG)).json()["url"] == receiver.url("/set")


@pytest.mark.usefixtures("running")
async def test_what_a_collector_says_that_refuses_a_span_is_told(
    http: httpx.AsyncClient, receiver: Receiver
) -> None:
    receiver.script("/", answer(401, body=b'{"message": "unknown key"}'))

    said = await http.post(f"{CONFIG}/test", json={"otelConfig": {"url": receiver.url("")}})

    assert (said.status_code, said.json()) == (
        400,
        {
            "code": "collector_refused",
            "detail": "The collector did not take a span: the collector answered 401:"
            ' {"message": "unknown key"}',
        },
    )


@pytest.mark.usefixtures("running")
async def test_a_collector_that_hangs_holds_up_no_other_test(
    http: httpx.AsyncClient, receiver: Receiver
) -> None:
    receiver.script("/hangs", hang())
    hanging = {"otelConfig": {"url": receiver.url("/hangs")}}
    well = {"otelConfig": {"url": receiver.url("/well")}}

    async with asyncio.TaskGroup() as group:
        waits = group.create_task(http.post(f"{CONFIG}/test", json=hanging))
        await receiver.wait_for(1, path="/hangs")
        said = await http.post(f"{CONFIG}/test", json=well)
        assert not waits.done()
        waits.cancel()

    assert said.status_code == 204


@pytest.mark.usefixtures("running")
async def test_a_question_that_is_nonsense_is_answered_and_harms_nobody(
    gateway: Gateway, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    bus = gateway.app.state.parts.bus
    said = [
        orjson.loads((await bus.request(ASK, data, timeout=5)).data)["why"]
        for data in (b"", b"[]", b"{}", b'{"environmentId": 1, "url": 2, "headers": 3}')
    ]

    assert all(why.startswith("the question was not understood") for why in said)
    well = {"otelConfig": {"url": receiver.url("")}}
    assert (await http.post(f"{CONFIG}/test", json=well)).status_code == 204


async def test_without_a_dispatcher_or_a_collector_a_test_says_so(http: httpx.AsyncClient) -> None:
    unset = await http.post(f"{CONFIG}/test", json={})
    alone = await http.post(f"{CONFIG}/test", json={"otelConfig": COLLECTOR})

    assert (unset.status_code, unset.json()["code"]) == (400, "no_collector")
    assert (alone.status_code, alone.json()["code"]) == (400, "no_dispatcher")


@pytest.mark.usefixtures("running")
async def test_how_an_export_goes_is_shown(
    gateway: Gateway, http: httpx.AsyncClient, receiver: Receiver, desk: Desk
) -> None:
    receiver.script("/v1/traces", answer(403, body=b"no"))
    await http.put(CONFIG, json={"url": receiver.url("")})
    tenant = await desk.tenant()
    await desk.link.execute("UPDATE endpoint SET url = $1", receiver.url("/hook"))
    bus = gateway.app.state.parts.bus

    async def is_told() -> bool:
        if not await staged(gateway.pool):
            await publish(bus, tenant.app_id)
        return bool((await http.get(CONFIG)).json()["failures"])

    await eventually(is_told, within_s=20)

    shown = (await http.get(CONFIG)).json()
    assert shown["lastError"] == "the collector answered 403: no"
    assert shown["waiting"] >= 1
    assert shown["nextTryAt"] > shown["lastErrorAt"]
    assert shown["exportedAt"] is None
