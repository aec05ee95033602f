"""A tour by the official client through messages, attempts and what is sent to an endpoint.

A dispatcher runs, and a receiver takes what is sent, so that each answer tells of something real.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client
from svix.api import (
    ApplicationIn,
    EndpointGetAttemptStatsOptions,
    EndpointHeadersPatchIn,
    EndpointIn,
    EventExampleIn,
    EventTypeIn,
    MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByEndpointOptions,
    MessageAttemptListByMsgOptions,
    MessageCreateOptions,
    MessageGetOptions,
    MessageIn,
    MessageListOptions,
    MessageOut,
    MessagePrecheckIn,
    SvixAsync,
)
from svix.api.message import message_in_raw
from svix.exceptions import HttpError
from svix.models import BulkExpungeContentsIn, BulkExpungeStatus, MessageStatus

from schema import event
from schema.retry import RetryPolicy
from schema.store.link import Pool
from tests import rows
from tests.dispatching import Running, dispatching, eventually
from tests.gateway_server import Gateway
from tests.receiver import Receiver, answer, raw
from tests.services import Services

pytestmark = pytest.mark.asyncio(loop_scope="module")
lent_to_the_module = pytest_asyncio.fixture(scope="module", loop_scope="module")
lent_to_a_test = pytest_asyncio.fixture(loop_scope="module")
PAYLOAD = {"n": 1}


@lent_to_the_module
async def running(pool: Pool, bus: Client, services: Services) -> AsyncIterator[Running]:
    assert bus.is_connected
    async with dispatching(
        pool, services.nats_url, retry_policy=RetryPolicy(waits_s=(60.0,))
    ) as made:
        yield made


@lent_to_a_test
async def receiver(running: Running) -> AsyncIterator[Receiver]:
    assert not running.task.done()
    async with Receiver() as made:
        yield made


@lent_to_a_test
async def app_id(svix: SvixAsync) -> str:
    return (await svix.application.create(ApplicationIn(name="One", uid="one"))).id


async def endpoint_at(svix: SvixAsync, receiver: Receiver, path: str, **other: Any) -> str:
    made = EndpointIn(url=receiver.url(path), **other)
    return (await svix.endpoint.create("one", made)).id


async def attempted(svix: SvixAsync, message_id: str, number: int = 1) -> None:
    async def they_are() -> bool:
        return len((await svix.message_attempt.list_by_msg("one", message_id)).data) >= number

    await eventually(they_are)


async def finished(svix: SvixAsync, task_id: str) -> dict[str, Any]:
    """Wait until a background task has ended well; give what it tells."""

    async def it_is() -> bool:
        return (await svix.background_task.get(task_id)).status.value == "finished"

    await eventually(it_is)
    return dict((await svix.background_task.get(task_id)).data)


async def tried_once(svix: SvixAsync, receiver: Receiver) -> tuple[MessageOut, str, str]:
    """Have a message tried at an endpoint; give it, and the ids of the two."""
    endpoint_id = await endpoint_at(svix, receiver, "/in", channels=["c"], headers={"X-A": "b"})
    made = await svix.message.create(
        "one",
        MessageIn(event_type="a.b", payload=PAYLOAD, channels=["c"], tags=["t"], event_id="e"),
        MessageCreateOptions(with_content=True),
    )
    await attempted(svix, made.id)
    [attempt] = (await svix.message_attempt.list_by_msg("one", made.id)).data
    return made, endpoint_id, attempt.id


@pytest.mark.usefixtures("app_id")
async def test_the_headers_of_an_attempt_are_told_as_the_receiver_got_them(
    svix: SvixAsync, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    head = b"HTTP/1.1 500 No\r\nX-Why: b\r\nSet-Cookie: a=b\r\nx-why: a\r\nSet-Cookie: c=d\r\n"
    receiver.script("/in", raw(head + b"Content-Length: 0\r\n\r\n"))
    own = {"X-A": "b", "Accept": "text/plain", "Authorization": "Bearer s3cret"}
    await endpoint_at(svix, receiver, "/in", headers=own)
    made = await svix.message.create("one", MessageIn(event_type="a.b", payload=PAYLOAD))
    await attempted(svix, made.id)
    [attempt] = (await svix.message_attempt.list_by_msg("one", made.id)).data

    told = await http.get(f"/api/v1/app/one/msg/{made.id}/attempt/{attempt.id}/headers")

    got: dict[str, str] = {}
    for name, value in receiver.requests[0].headers:
        got[name] = f"{got[name]}, {value}" if name in got else value
    shown, hidden = told.json()["sentHeaders"], told.json()["sensitive"]
    off_s = int(got.pop("webhook-timestamp")) - int(shown.pop("webhook-timestamp"))
    assert told.status_code == 200
    assert sorted(hidden) == ["authorization", "webhook-signature"]
    assert shown == {name: value for name, value in got.items() if name not in hidden}
    assert off_s in {-1, 0, 1}
    assert told.json()["responseHeaders"] == [
        ["x-why", "b"], ["set-cookie", "***"], ["x-why", "a"], ["set-cookie", "***"],
        ["content-length", "0"],
    ]  # fmt: skip
    assert "s3cret" not in told.text


@pytest.mark.usefixtures("app_id")
async def test_a_message_and_its_attempts_are_found_by_every_filter(
    svix: SvixAsync, receiver: Receiver
) -> None:
    made, endpoint_id, attempt_id = await tried_once(svix, receiver)
    [received] = receiver.requests

    assert made.payload == PAYLOAD
    assert (received.header("x-a"), received.header("webhook-id")) == ("b", made.id)
    for listing in (
        MessageListOptions(tag="t"),
        MessageListOptions(channel="c", event_types=["a.b"], with_content=True),
        MessageListOptions(after=made.timestamp, before=made.timestamp + timedelta(seconds=1)),
    ):
        assert [m.id for m in (await svix.message.list("one", listing)).data] == [made.id]
    filtered = MessageAttemptListByEndpointOptions(
        status=MessageStatus.SUCCESS, tag="t", channel="c", with_msg=True, with_content=True
    )
    [attempt] = (await svix.message_attempt.list_by_endpoint("one", endpoint_id, filtered)).data
    assert (attempt.id, attempt.response_status_code) == (attempt_id, 200)
    assert attempt.msg is not None
    assert attempt.msg.id == made.id
    assert (await svix.message_attempt.get("one", "e", attempt_id)).id == attempt_id
    [owed] = (await svix.message_attempt.list_attempted_messages("one", endpoint_id)).data
    [destination] = (await svix.message_attempt.list_attempted_destinations("one", made.id)).data
    assert (owed.id, owed.status) == (made.id, MessageStatus.SUCCESS)
    assert (destination.id, destination.status) == (endpoint_id, MessageStatus.SUCCESS)


@pytest.mark.usefixtures("app_id")
async def test_attempts_are_counted_as_they_are_listed(
    svix: SvixAsync, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    _, endpoint_id, _ = await tried_once(svix, receiver)
    path = f"/api/v1/app/one/attempt/endpoint/{endpoint_id}/count"

    counts = [
        (await http.get(path, params=params)).json()
        for params in ({}, {"status": "0", "tag": "t"}, {"status": "2"}, {"status": "1"})
    ]

    assert [count["count"] for count in counts] == [1, 1, 0, 0]
    assert not any(count["approximated"] for count in counts)


@pytest.mark.usefixtures("app_id")
async def test_a_message_is_resent_and_ends(svix: SvixAsync, receiver: Receiver) -> None:
    made, endpoint_id, attempt_id = await tried_once(svix, receiver)

    await svix.message_attempt.resend("one", made.id, endpoint_id)
    await attempted(svix, made.id, 2)
    await svix.message_attempt.expunge_content("one", made.id, attempt_id)
    await svix.message.expunge_content("one", made.id)

    listing = MessageAttemptListByMsgOptions(endpoint_id=endpoint_id, with_content=True)
    attempts = (await svix.message_attempt.list_by_msg("one", made.id, listing)).data
    assert [one.response for one in attempts][1:] == ["EXPUNGED"]
    shown = await svix.message.get("one", made.id, MessageGetOptions(with_content=True))
    assert shown.payload == {"expired": True}
    with pytest.raises(HttpError) as raised:
        await svix.message_attempt.resend("one", made.id, endpoint_id)
    assert raised.value.code == "missing_payload"
    stats = await svix.endpoint.get_stats("one", endpoint_id)
    since = rows.now() - timedelta(hours=1)
    by_hour = await svix.endpoint.get_attempt_stats(
        "one", endpoint_id, EndpointGetAttemptStatsOptions(since=since)
    )
    assert (stats.success, stats.fail, stats.canceled) == (2, 0, 0)
    assert (by_hour.success, by_hour.fail, by_hour.canceled) == (2, 0, 0)


@pytest.mark.usefixtures("app_id")
async def test_headers_are_set_and_deleted(svix: SvixAsync, receiver: Receiver) -> None:
    endpoint_id = await endpoint_at(svix, receiver, "/in", headers={"X-A": "1", "X-B": "2"})

    await svix.endpoint.patch_headers(
        "one", endpoint_id, EndpointHeadersPatchIn(headers={"X-C": "3"}, delete_headers=["x-a"])
    )

    assert (await svix.endpoint.get_headers("one", endpoint_id)).headers == {"X-B": "2", "X-C": "3"}


@pytest.mark.usefixtures("app_id")
async def test_both_older_paths_list_the_attempts_of_a_message(
    svix: SvixAsync, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    first, second = [await endpoint_at(svix, receiver, path, uid=path[1:]) for path in ("/a", "/b")]
    made = await svix.message.create("one", MessageIn(event_type="a", payload=PAYLOAD))
    await attempted(svix, made.id, 2)
    message = f"/api/v1/app/one/msg/{made.id}"

    everywhere = (await http.get(f"{message}/attempt")).json()["data"]
    at_one = [
        (await http.get(f"{message}/endpoint/{ref}/attempt")).json()["data"] for ref in (first, "b")
    ]

    assert {one["endpointId"] for one in everywhere} == {first, second}
    assert [[one["endpointId"] for one in page] for page in at_one] == [[first], [second]]
    assert (await http.get(f"{message}/endpoint/nobody/attempt")).status_code == 404


@pytest.mark.usefixtures("app_id")
async def test_a_raw_payload_is_sent_shown_and_kept_as_it_is(
    svix: SvixAsync, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    await endpoint_at(svix, receiver, "/in")
    made = await svix.message.create("one", message_in_raw("a", "<a/>", "application/xml"))
    plain = await svix.message.create(
        "one", message_in_raw("a", '{ "n" : 1}'), MessageCreateOptions(with_content=True)
    )
    await receiver.wait_for(n=2)

    sent = {r.header("webhook-id"): (r.body, r.header("content-type")) for r in receiver.requests}
    assert sent == {
        made.id: (b"<a/>", "application/xml"),
        plain.id: (b'{ "n" : 1}', "application/json"),
    }
    shown = await svix.message.get("one", made.id, MessageGetOptions(with_content=True))
    raw = await http.get(f"/api/v1/app/one/msg/{made.id}/raw")
    assert (shown.payload, plain.payload) == ({"value": "<a/>"}, {"n": 1})
    assert raw.json() == {"payload": "<a/>"}


@pytest.mark.usefixtures("app_id")
async def test_a_message_for_later_waits_and_is_called_off(
    svix: SvixAsync, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    endpoint_id = await endpoint_at(svix, receiver, "/in")
    due_at = rows.now() + timedelta(minutes=2)
    made = await svix.message.create(
        "one",
        MessageIn(event_type="a", payload={}, deliver_at=due_at, payload_retention_hours=1),
    )

    async def standing() -> list[MessageStatus]:
        listing = MessageAttemptListAttemptedMessagesOptions(expanded_statuses=True)
        page = await svix.message_attempt.list_attempted_messages("one", endpoint_id, listing)
        assert all(one.deliver_at == due_at for one in page.data)
        return [one.status for one in page.data]

    async def pending() -> bool:
        return await standing() == [MessageStatus.PENDING]

    await eventually(pending)
    path = f"/api/v1/app/one/endpoint/{endpoint_id}/cancel-msgs"
    early = await http.post(path, json={"createdBefore": made.timestamp.isoformat()})
    assert (early.status_code, await standing()) == (204, [MessageStatus.PENDING])

    late = rows.now() + timedelta(seconds=1)
    answered = await http.post(path, json={"createdBefore": late.isoformat()})

    assert made.deliver_at == due_at
    assert (answered.status_code, await standing()) == (204, [MessageStatus.CANCELED])
    assert (await svix.endpoint.get_stats("one", endpoint_id)).canceled == 1
    assert not receiver.requests


@pytest.mark.usefixtures("app_id")
async def test_what_waits_in_memory_for_an_endpoints_rate_is_told_and_called_off(
    svix: SvixAsync, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    slow = await endpoint_at(svix, receiver, "/in", throttle_rate=1)
    path = f"/api/v1/app/one/endpoint/{slow}"
    free = await http.get(f"{path}/rate-limit-status")
    for number in range(8):
        await svix.message.create("one", MessageIn(event_type="a", payload={"n": number}))
    throttled: dict[str, Any] = {}

    async def waits() -> bool:
        throttled.update((await http.get(f"{path}/rate-limit-status")).json())
        return throttled["status"] == "RateLimited"

    await eventually(waits)
    await http.post(f"{path}/cancel-msgs", json={"createdBefore": rows.now().isoformat()})

    async def quiet() -> bool:
        return (await http.get(f"{path}/rate-limit-status")).json() == {"status": "Ok"}

    await eventually(quiet)
    stats = await svix.endpoint.get_stats("one", slow)
    assert free.json() == {"status": "Ok"}
    assert throttled["throttledSince"]
    assert stats.canceled >= 3
    assert stats.pending == 0
    assert len(receiver.requests) + stats.canceled in {8, 9}  # one may have been under way


@pytest.mark.usefixtures("app_id")
async def test_whether_anybody_would_get_a_message(svix: SvixAsync, receiver: Receiver) -> None:
    await svix.event_type.create(EventTypeIn(name="a.b", description=""))
    await endpoint_at(svix, receiver, "/in", event_types=["a.b"], channels=["c"])

    found = [
        (await svix.message.precheck("one", MessagePrecheckIn(**wanted))).active
        for wanted in (
            {"event_type": "a.b", "channels": ["c", "d"]},
            {"event_type": "a.b", "channels": ["d"]},
            {"event_type": "a.b"},
            {"event_type": "b", "channels": ["c"]},
        )
    ]

    assert found == [True, False, False, False]


@pytest.mark.usefixtures("app_id")
async def test_an_example_goes_to_one_endpoint_past_its_filters(
    svix: SvixAsync, receiver: Receiver
) -> None:
    schema = {"1": {"type": "object", "examples": [{"n": 1}, {"n": 2}]}}
    await svix.event_type.create(EventTypeIn(name="a.b", description="", schemas=schema))
    chosen = await endpoint_at(svix, receiver, "/chosen", channels=["c"])
    await endpoint_at(svix, receiver, "/other")

    sent = [
        await svix.endpoint.send_example("one", chosen, EventExampleIn(**wanted))
        for wanted in (
            {"event_type": "svix.ping"},
            {"event_type": "a.b"},
            {"event_type": "a.b", "example_index": 1},
        )
    ]
    await receiver.wait_for(n=3)

    assert [message.payload for message in sent] == [{"success": True}, {"n": 1}, {"n": 2}]
    assert {received.path for received in receiver.requests} == {"/chosen"}
    for wanted, code in (("nobody", "not_found"), ("a.b", "invalid_scheme")):
        example = EventExampleIn(event_type=wanted, example_index=7)
        with pytest.raises(HttpError) as raised:
            await svix.endpoint.send_example("one", chosen, example)
        assert raised.value.code == code


@pytest.mark.usefixtures("app_id")
async def test_contents_are_expunged_of_some_and_of_all(
    svix: SvixAsync, receiver: Receiver, gateway: Gateway
) -> None:
    await endpoint_at(svix, receiver, "/in")
    receiver.script("/in", answer(500))
    made = [
        await svix.message.create(
            "one", MessageIn(event_type="a", payload=PAYLOAD, event_id=f"e{number}")
        )
        for number in range(4)
    ]

    some = await svix.message.bulk_expunge_content(
        "one", BulkExpungeContentsIn(ids=[made[0].id, "e1", "nobody"])
    )
    for message in made[2:]:
        await attempted(svix, message.id)
    task = await svix.message.expunge_all_contents("one")
    told = await finished(svix, task.id)

    assert some.results == {
        made[0].id: BulkExpungeStatus.EXPUNGED,
        "e1": BulkExpungeStatus.EXPUNGED,
        "nobody": BulkExpungeStatus.NOT_FOUND,
    }
    assert (task.task.value, told) == ("application.purge_content", {"messagesPurged": 2})
    listed = (await svix.message.list("one", MessageListOptions(with_content=True))).data
    assert [message.payload for message in listed] == [{"expired": True}] * 4
    states = await gateway.pool.fetch(
        "SELECT DISTINCT state FROM delivery WHERE message_id = ANY ($1)", [m.id for m in made]
    )
    assert [row["state"] for row in states] == ["cancelled"]


async def test_a_broadcast_reaches_every_app_once_but_those_that_have_its_event_id(
    svix: SvixAsync, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    apps = {}
    for uid in ("one", "two", "three"):
        apps[uid] = (await svix.application.create(ApplicationIn(name=uid, uid=uid))).id
        await svix.endpoint.create(uid, EndpointIn(url=receiver.url(f"/{uid}")))
    await svix.message.create("three", MessageIn(event_type="a", payload={}, event_id="e"))
    await receiver.wait_for(n=1)

    body = {"eventType": "a", "payload": PAYLOAD, "eventId": "e", "tags": ["t"]}
    made = await http.post("/api/v1/msg/broadcast", json=body)
    told = await finished(svix, made.json()["id"])
    await receiver.wait_for(n=3)

    assert (made.status_code, made.json()["task"]) == (202, "message.broadcast")
    messages = [(await svix.message.list(uid)).data[0].id for uid in ("one", "two")]
    assert told == {
        "messagesSent": 2,
        "messagesCreated": [
            {"appId": apps["one"], "msgId": messages[0]},
            {"appId": apps["two"], "msgId": messages[1]},
        ],
        "messagesFailed": [
            {"appId": apps["three"], "reason": "the app has a message with this eventId"}
        ],
    }
    assert sorted(received.path for received in receiver.requests) == ["/one", "/three", "/two"]
    [listed] = (await svix.message.list("one", MessageListOptions(tag="t"))).data
    assert listed.event_id == "e"
    items = (await http.get(f"/api/v1/task/{made.json()['id']}/item")).json()["data"]
    assert {item["state"] for item in items} == {"done", "skipped"}


async def test_an_example_names_its_endpoint_on_the_stream(
    svix: SvixAsync, app_id: str, receiver: Receiver, bus: Client
) -> None:
    endpoint_id = await endpoint_at(svix, receiver, "/in")
    await svix.endpoint.send_example("one", endpoint_id, EventExampleIn(event_type="svix.ping"))

    found = await bus.jetstream().get_last_msg(
        event.STREAM, f"shard.*.{app_id}.svix.ping", direct=False
    )

    assert (found.headers or {})[event.ENDPOINT] == endpoint_id
