"""Endpoints that configure themselves: by Svix's own client for that, and as others see them."""

import asyncio
import base64

import httpx
import orjson
import pytest
import pytest_asyncio
from svix import AutoConfig, AutoConfigConsumer, WebhookVerificationError
from svix.api import ApplicationIn, EndpointIn, EndpointOut, MessageIn, SvixAsync
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import SinkInCommon

from tests.dispatching import Running
from tests.gateway_server import Gateway
from tests.receiver import Receiver

pytestmark = pytest.mark.asyncio(loop_scope="module")
lent_to_a_test = pytest_asyncio.fixture(loop_scope="module")

URL = "https://hooks.example.com/in"
AWAITING = "https://awaiting-configuration.invalid/"
MADE_BY_ITSELF = {"_svix_auto_config": "true"}


@lent_to_a_test
async def app_id(svix: SvixAsync) -> str:
    return (await svix.application.create(ApplicationIn(name="Tenant", uid="tenant"))).id


@lent_to_a_test
async def made(http: httpx.AsyncClient, app_id: str) -> dict[str, str]:
    said = await http.post(f"/api/v1/app/{app_id}/auto-config")
    assert said.status_code == 201, said.text
    return said.json()


def one(app_id: str, made: dict[str, str], rest: str = "/auto-config") -> str:
    return f"/api/v1/app/{app_id}/endpoint/{made['endpId']}{rest}"


def content(made: dict[str, str]) -> dict[str, str]:
    return orjson.loads(base64.b64decode(made["token"].removeprefix("auto_v1_")))


async def subscribe(config: AutoConfig | AutoConfigConsumer) -> EndpointOut:
    """Do as a program does when it starts, in a thread of its own; the client leaves it open."""
    try:
        return await asyncio.to_thread(config.subscribe)
    finally:
        config._httpx_client.close()


async def refused(config: AutoConfig | AutoConfigConsumer, status: int) -> None:
    with pytest.raises((HttpError, HTTPValidationError)) as raised:
        await subscribe(config)
    assert raised.value.status_code == status


async def test_an_endpoint_awaits_its_configuration_and_says_so(
    svix: SvixAsync, http: httpx.AsyncClient, app_id: str, made: dict[str, str]
) -> None:
    seen = (await http.get(one(app_id, made, ""))).json()
    censored = (await http.get(one(app_id, made))).json()
    health = (await http.get(one(app_id, made, "/health"))).json()
    taken = await http.post(f"/api/v1/app/{app_id}/msg/precheck/active", json={"eventType": "a.b"})

    assert (seen["state"], seen["stateReason"]) == ("disabled", "awaiting_configuration")
    assert (seen["disabled"], seen["url"]) == (True, AWAITING)
    assert (health["state"], health["by"]) == ("disabled", "key")
    assert health["reason"] == "awaiting_configuration"
    assert taken.json() == {"active": False}
    assert censored == {
        "endpId": made["endpId"],
        "tokenCensored": f"auto_v1_***{content(made)['tok'][-4:]}",
        "updatedAt": made["updatedAt"],
    }
    assert content(made)["esec"] == (await svix.endpoint.get_secret(app_id, made["endpId"])).key


async def test_the_holder_of_the_token_says_where_to_gets_it_and_verifies_it(
    running: Running, svix: SvixAsync, receiver: Receiver, app_id: str, made: dict[str, str]
) -> None:
    assert running
    await svix.message.create(app_id, MessageIn(event_type="a.b", payload={"n": 0}))
    wanted = EndpointIn(url=receiver.url("/in"), channels=["c"], headers={"x-from": "us"})
    config = AutoConfig(made["token"], wanted)

    configured = await subscribe(config)
    message = MessageIn(event_type="a.b", payload={"n": 1}, channels=["c"])
    await svix.message.create(app_id, message)
    (request,) = await receiver.wait_for(1)

    assert (configured.id, configured.url) == (made["endpId"], receiver.url("/in"))
    assert configured.metadata == MADE_BY_ITSELF
    assert request.header("x-from") == "us"
    assert request.body == b'{"n":1}'
    config.verify(request.body, dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        config.verify(b'{"n":2}', dict(request.headers))


async def test_what_is_said_last_counts_all_of_it(
    svix: SvixAsync, app_id: str, made: dict[str, str]
) -> None:
    first = EndpointIn(
        url=URL, uid="theirs", channels=["c"], description="x", headers={"a": "b"},
        throttle_rate=5, metadata={"k": "v"},
    )  # fmt: skip
    then = EndpointIn(url=f"{URL}/2", disabled=True)

    before = await subscribe(AutoConfig(made["token"], first))
    after = await subscribe(AutoConfig(made["token"], then))

    assert (before.uid, before.channels, before.throttle_rate) == ("theirs", ["c"], 5)
    assert before.metadata == {"k": "v", **MADE_BY_ITSELF}
    assert (after.uid, after.channels, after.throttle_rate) == (None, None, None)
    assert (after.url, after.disabled, after.description) == (f"{URL}/2", True, "")
    assert (await svix.endpoint.get_headers(app_id, made["endpId"])).headers == {}


async def test_what_is_said_is_held_to_what_any_endpoint_is_held_to(
    http: httpx.AsyncClient, app_id: str, made: dict[str, str]
) -> None:
    settings = "/api/v1/management/environment-settings"
    await http.patch(settings, json={"requireEndpointChannel": True, "enforceHttps": True})

    for body, where in (
        ({"url": "http://169.254.169.254/"}, ["endpoint", "url"]),
        ({"url": "ftp://hooks.example.com/"}, ["endpoint", "url"]),
        ({"url": AWAITING}, ["endpoint", "url"]),
        ({"url": URL, "headers": {"host": "x"}}, ["endpoint", "headers"]),
        ({"url": URL, "secret": "whsec_" + "A" * 32}, ["endpoint", "secret"]),
        ({"url": URL, "eventTypes": ["no.such"], "channels": ["c"]}, ["eventTypes"]),
        ({"url": URL}, ["channels"]),
        ({"url": "http://hooks.example.com/", "channels": ["c"]}, ["url"]),
    ):
        said = await http.put(one(app_id, made), json={"endpoint": body})

        assert said.status_code == 422, body
        assert ["body", *where] in [fault["loc"] for fault in said.json()["detail"]], said.text
    seen = (await http.get(one(app_id, made, ""))).json()
    assert seen["stateReason"] == "awaiting_configuration"


async def test_a_sink_is_an_endpoint_or_nothing_that_we_have(
    http: httpx.AsyncClient, app_id: str, made: dict[str, str]
) -> None:
    sink = {"type": "http", "config": {"url": URL}}
    taken = await http.put(one(app_id, made), json={"sink": sink})
    poller = AutoConfigConsumer(made["token"], SinkInCommon())
    neither = await http.put(one(app_id, made), json={})
    both = await http.put(one(app_id, made), json={"endpoint": {"url": URL}, "sink": sink})

    assert (taken.status_code, taken.json()["url"]) == (200, URL)
    await refused(poller, 422)
    assert (neither.status_code, both.status_code) == (422, 422)


async def test_another_token_ends_the_one_before_and_brings_another_secret_if_asked(
    gateway: Gateway, svix: SvixAsync, http: httpx.AsyncClient, app_id: str, made: dict[str, str]
) -> None:
    config = EndpointIn(url=URL)
    await subscribe(AutoConfig(made["token"], config))

    again = (await http.post(one(app_id, made, "/auto-config/rotate"), json={})).json()
    await refused(AutoConfig(made["token"], config), 401)
    await subscribe(AutoConfig(again["token"], config))
    third = await http.post(
        one(app_id, made, "/auto-config/rotate"),
        json={"signingSecret": {"gracePeriodSeconds": 0}},
    )

    assert content(again)["esec"] == content(made)["esec"]
    assert content(again)["surl"] == gateway.url
    assert content(third.json())["esec"] != content(made)["esec"]
    secret = await svix.endpoint.get_secret(app_id, made["endpId"])
    assert secret.key == content(third.json())["esec"]
    actions = [r["action"] for r in await gateway.pool.fetch(
        "SELECT action FROM audit WHERE object = $1", made["endpId"])]  # fmt: skip
    assert sorted(actions) == [
        "auto_config.token", "auto_config.token", "auto_config.token", "endpoint.create",
        "endpoint.reveal_secret", "endpoint.rotate_secret", "endpoint.update", "endpoint.update",
    ]  # fmt: skip


async def test_the_token_does_nothing_else_and_ends_with_its_endpoint(
    gateway: Gateway, svix: SvixAsync, http: httpx.AsyncClient, app_id: str, made: dict[str, str]
) -> None:
    other = (await http.post(f"/api/v1/app/{app_id}/auto-config")).json()
    token = gateway.http(content(made)["tok"])
    body = {"endpoint": {"url": URL}}

    looked = [
        (await token.get(path)).status_code
        for path in (one(app_id, made, ""), one(app_id, made), "/api/v1/auth/whoami")
    ]
    strange = await token.put(one(app_id, other), json=body)
    own = await token.put(one(app_id, made), json=body)
    await svix.endpoint.delete(app_id, made["endpId"])
    gone = await token.put(one(app_id, made), json=body)

    assert looked == [403, 403, 403]
    assert (strange.status_code, own.status_code, gone.status_code) == (404, 200, 401)


async def test_an_endpoint_that_awaits_is_not_enabled_without_a_url(
    http: httpx.AsyncClient, app_id: str, made: dict[str, str]
) -> None:
    enabled = await http.patch(one(app_id, made, ""), json={"disabled": False})
    given = await http.patch(one(app_id, made, ""), json={"disabled": False, "url": URL})

    assert enabled.status_code == 422
    assert enabled.json()["detail"][0]["loc"] == ["body", "disabled"]
    assert (given.json()["url"], given.json()["state"]) == (URL, "active")


async def test_an_endpoint_that_was_made_otherwise_has_no_token(
    svix: SvixAsync, http: httpx.AsyncClient, app_id: str
) -> None:
    plain = {"endpId": (await svix.endpoint.create(app_id, EndpointIn(url=URL))).id}
    calls = (
        http.get(one(app_id, plain)),
        http.put(one(app_id, plain), json={"endpoint": {"url": URL}}),
        http.post(one(app_id, plain, "/auto-config/rotate"), json={}),
    )

    assert [(await call).status_code for call in calls] == [404] * 3


async def test_one_that_awaits_counts_among_an_apps_endpoints(
    http: httpx.AsyncClient, app_id: str
) -> None:
    settings = "/api/v1/management/environment-settings"
    await http.patch(settings, json={"endpointsPerAppLimit": 1, "requireEndpointChannel": True})

    first = await http.post(f"/api/v1/app/{app_id}/auto-config")
    second = await http.post(f"/api/v1/app/{app_id}/auto-config")

    assert first.status_code == 201
    assert (second.status_code, second.json()["code"]) == (400, "limit_reached")
