"""A new message is made of a dead letter, with what was wrong with it changed."""

from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from schema import ids
from schema.api_key import KeyKind
from schema.event import STREAM
from tests import rows
from tests.gateway_server import Gateway, make_key
from tests.tenants import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")


def path(tenant: Tenant, letter_id: str, verb: str = "/reissue") -> str:
    return f"/api/v1/app/{tenant.app_id}/dead-letter/{letter_id}{verb}"


async def last_event(bus: Client) -> tuple[str, dict[str, str], bytes]:
    """Give the event that was published last: its subject, headers and bytes."""
    state = (await bus.jetstream().stream_info(STREAM)).state
    found = await bus.jetstream().get_msg(STREAM, state.last_seq)
    return found.subject or "", dict(found.headers or {}), found.data or b""


async def test_what_is_changed_is_published_for_the_endpoint_of_the_letter_alone(
    http: httpx.AsyncClient, tenant: Tenant, bus: Client
) -> None:
    letter_id = await tenant.parked(event_id="one", channels=["eu"], content_type="text/x+json")
    was = await tenant.letter(letter_id)

    payload = b'{"n":  2.50, "cut":"\\ud83d"}'
    body = b'{"payload": %b, "eventType": "user.mended", "reason": "typo"}' % payload
    answered = await http.post(path(tenant, letter_id), content=body)

    assert answered.status_code == 202, answered.text
    shown = answered.json()
    subject, headers, sent = await last_event(bus)
    assert subject.endswith(f".{tenant.app_id}.user.mended")
    assert sent == payload
    assert headers == {
        "Hookline-Message-Id": shown["id"],
        "Nats-Msg-Id": shown["id"],
        "Hookline-Channels": "eu",
        "Hookline-Endpoint": tenant.endpoint_id,
        "Hookline-Dead-Letter": letter_id,
        "Hookline-Content-Type": "text/x+json",
    }
    assert shown["id"] != was["message_id"]
    assert shown["madeOf"] == {"letterId": letter_id, "messageId": was["message_id"]}
    assert (shown["endpointId"], shown["eventId"]) == (tenant.endpoint_id, None)
    assert await tenant.letter(letter_id) == was
    (entry,) = await tenant.audited("dead_letter.reissue")
    assert entry["object"] == letter_id
    assert entry["detail"] == {
        "message": shown["id"], "endpoint": tenant.endpoint_id, "reason": "typo"
    }  # fmt: skip


async def test_what_is_not_said_is_as_it_was_and_another_endpoint_may_get_it(
    http: httpx.AsyncClient, tenant: Tenant, bus: Client
) -> None:
    letter_id = await tenant.parked(channels=["eu"])

    body = {"endpointId": "e2", "channels": [], "tags": ["mended"], "eventId": "two"}
    answered = await http.post(path(tenant, letter_id), json=body)

    subject, headers, sent = await last_event(bus)
    assert answered.status_code == 202
    assert (subject.partition(".app")[2][-13:], sent) == (".user.created", b'{"n": 1}')
    assert headers["Hookline-Endpoint"] == tenant.other_id
    assert headers["Hookline-Tags"] == "mended"
    assert headers["Hookline-Event-Id"] == "two"
    assert "Hookline-Channels" not in headers
    again = await http.post(path(tenant, letter_id), json=body)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"eventType": "a b", "eventId": "msg_1", "channels": ["a,b"]},
         {"eventType", "eventId", "channels"}),
        ({"endpointId": "nobody"}, {"endpointId"}),
        ({"tags": ["1", "2", "3", "4", "5", "6"]}, {"tags"}),
    ],
)  # fmt: skip
async def test_what_is_not_as_it_must_be_is_named(
    http: httpx.AsyncClient, tenant: Tenant, body: dict[str, Any], fields: set[str]
) -> None:
    answered = await http.post(path(tenant, await tenant.parked()), json=body)

    assert answered.status_code == 422
    assert {fault["loc"][1] for fault in answered.json()["detail"]} == fields


async def test_nothing_is_published_that_could_not_arrive(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    emptied = await tenant.parked(payload=None)
    letter_id = await tenant.parked()
    of_other = await tenant.parked(endpoint_id=tenant.other_id)
    await tenant.link.execute(
        "UPDATE endpoint SET state = 'disabled' WHERE id = $1", tenant.endpoint_id
    )
    await tenant.link.execute(
        "UPDATE endpoint SET deleted_at = now() WHERE id = $1", tenant.other_id
    )

    codes = [
        (await http.post(path(tenant, ident), json=body)).json()["code"]
        for ident, body in ((emptied, {}), (letter_id, {}), (of_other, {}))
    ]
    missing = await http.post(path(tenant, ids.new_id(ids.DEAD_LETTER, rows.now())), json={})

    assert codes == ["missing_payload", "endpoint_disabled", "endpoint_deleted"]
    assert missing.status_code == 404


async def test_keys_of_apps_make_no_messages(
    http: httpx.AsyncClient, tenant: Tenant, shared: Gateway
) -> None:
    letter_id = await tenant.parked()
    key = await make_key(shared.pool, tenant.environment_id, kind=KeyKind.APP, app_id=tenant.app_id)

    refused = await http.post(
        path(tenant, letter_id), json={}, headers={"authorization": f"Bearer {key}"}
    )

    assert refused.status_code == 403
