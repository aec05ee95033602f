"""The logs through the official client: messages, attempts, what became of them, sending again."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from svix.api import (
    ApplicationIn,
    EndpointHeadersIn,
    EndpointPatch,
    MessageAttemptGetOptions,
    MessageAttemptListAttemptedDestinationsOptions,
    MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByEndpointOptions,
    MessageAttemptListByMsgOptions,
    MessageGetOptions,
    MessageIn,
    MessageListOptions,
    SvixAsync,
)
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import MessageStatus, MessageStatusText, StatusCodeClass

from schema import event, ids
from schema.delivery import State
from tests import rows
from tests.gateway_server import Gateway
from tests.services import SHARDS
from tests.tenants import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

URL = "https://hooks.example.com/in"
SECOND = timedelta(seconds=1)
ByEndpoint = MessageAttemptListByEndpointOptions
ByMessage = MessageAttemptListByMsgOptions
Attempted = MessageAttemptListAttemptedMessagesOptions
Destinations = MessageAttemptListAttemptedDestinationsOptions


@asynccontextmanager
async def rung(bus: Client, app_id: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Listen for the ring of an app's shard; give what waits for it."""
    heard = asyncio.Event()

    async def hear(_message: Msg) -> None:
        heard.set()

    async def wait() -> None:
        async with asyncio.timeout(5):
            await heard.wait()

    subject = f"{event.WAKE_ROOT}.{ids.shard_of(app_id, SHARDS)}"
    subscription = await bus.subscribe(subject, cb=hear)
    await bus.flush()
    yield wait
    await subscription.unsubscribe()


async def refused(call: object, status: int, code: str) -> HttpError:
    with pytest.raises(HttpError) as raised:
        await call
    assert (raised.value.status_code, raised.value.code) == (status, code)
    return raised.value


class TestMessages:
    async def test_pages_go_down_and_up_again_and_end_where_they_should(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        start = rows.now() - timedelta(hours=1)
        made = [
            await rows.message(tenant.link, tenant.app_id, start + n * SECOND) for n in range(7)
        ]
        made.reverse()

        first = await svix.message.list("one", MessageListOptions(limit=3))
        second = await svix.message.list(
            "one", MessageListOptions(limit=3, iterator=first.iterator)
        )
        third = await svix.message.list(
            "one", MessageListOptions(limit=3, iterator=second.iterator)
        )
        back = await svix.message.list(
            "one", MessageListOptions(limit=3, iterator=third.prev_iterator)
        )
        top = await svix.message.list(
            "one", MessageListOptions(limit=3, iterator=back.prev_iterator)
        )

        pages = [first, second, third, back, top]
        assert [[m.id for m in page.data] for page in pages] == [
            made[:3], made[3:6], made[6:], made[3:6], made[:3],
        ]  # fmt: skip
        assert [page.done for page in pages] == [False, False, True, False, True]

    async def test_filters_by_type_channel_tag_and_time_narrow_the_list(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        at = rows.now() - timedelta(hours=1)
        put = {
            "plain": {},
            "typed": {"event_type": "other.type"},
            "channelled": {"channels": ["c1", "c2"]},
            "tagged": {"tags": ["t1"]},
        }
        named = {
            await rows.message(tenant.link, tenant.app_id, at + n * SECOND, **columns): name
            for n, (name, columns) in enumerate(put.items())
        }

        async def listed(**options: object) -> list[str]:
            page = await svix.message.list("one", MessageListOptions(**options))
            return [named[message.id] for message in page.data]

        assert await listed(event_types=["other.type", "nothing"]) == ["typed"]
        assert await listed(channel="c2") == ["channelled"]
        assert await listed(tag="t1") == ["tagged"]
        assert await listed(before=at + 2 * SECOND) == ["typed", "plain"]
        assert await listed(after=at + 2 * SECOND) == ["tagged", "channelled"]
        assert await listed(after=at, limit=2) == ["typed", "plain"]
        assert await listed(channel="c1", tag="t1") == []

    async def test_a_messages_own_time_is_after_it_and_not_before_it(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        ident = await rows.message(tenant.link, tenant.app_id)
        shown = await svix.message.get("one", ident)

        since = await svix.message.list("one", MessageListOptions(after=shown.timestamp))
        until = await svix.message.list("one", MessageListOptions(before=shown.timestamp))

        assert [m.id for m in since.data] == [ident]
        assert until.data == []

    async def test_what_is_older_than_ninety_days_is_asked_for_by_a_bound(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        old = rows.now() - timedelta(days=100)
        ident = await rows.message(tenant.link, tenant.app_id, old)

        plain = await svix.message.list("one")
        bounded = await svix.message.list(
            "one", MessageListOptions(before=rows.now() - timedelta(days=91))
        )

        assert plain.data == []
        assert [m.id for m in bounded.data] == [ident]

    async def test_an_iterator_of_another_list_is_refused(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        for iterator in ("ep_1", tenant.endpoint_id, "-", "msg_" + "z" * 27):
            with pytest.raises(HTTPValidationError):
                await svix.message.list("one", MessageListOptions(iterator=iterator))

    async def test_json_of_any_kind_that_came_by_nats_is_shown_as_an_object(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        put = {b"[1, 2]": {"value": [1, 2]}, b' {"a": 1}\n': {"a": 1}, b'"x"': {"value": "x"}}
        start = rows.now() - timedelta(hours=1)
        for n, payload in enumerate(put):
            at = start + n * SECOND
            await rows.message(tenant.link, tenant.app_id, at, payload=payload)

        page = await svix.message.list("one", MessageListOptions(with_content=True))

        assert [m.payload for m in page.data] == list(put.values())[::-1]

    async def test_expunging_forgets_the_payload_everywhere_and_calls_off_what_is_owed(
        self, svix: SvixAsync, tenant: Tenant, bus: Client
    ) -> None:
        message_id = await tenant.owed(State.RETRYING, attempts=2)
        await rows.delivery(tenant.link, tenant.app_id, message_id, tenant.other_id, State.PENDING)
        letter = await rows.letter(
            tenant.link, tenant.app_id, message_id, tenant.other_id, state="redelivering"
        )

        async with rung(bus, tenant.app_id) as ring:
            await svix.message.expunge_content("one", message_id)
            await ring()

        shown = await svix.message.get("one", message_id, MessageGetOptions(with_content=True))
        delivery = await tenant.delivery(message_id)
        parked = await tenant.link.fetchrow("SELECT * FROM dead_letter WHERE id = $1", letter)
        assert shown.payload == {"expired": True}
        assert (delivery["state"], delivery["reason"]) == ("cancelled", "by_request")
        assert parked is not None
        assert (parked["state"], parked["payload"]) == ("parked", None)
        assert await wakes(tenant) == {tenant.endpoint_id, tenant.other_id}
        await refused(svix.message_attempt.resend("one", message_id, "e1"), 400, "missing_payload")


class TestAttempts:
    async def test_an_attempt_is_shown_as_the_client_reads_it_and_with_what_we_add(
        self, svix: SvixAsync, gateway: Gateway, tenant: Tenant
    ) -> None:
        message_id = await tenant.owed(State.DELIVERED, attempts=1)
        at = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
        ident = await tenant.tried(
            message_id, 201, at=at, phases_ms=[1, 2, 3, 4, 5], address="203.0.113.9", tls="TLSv1.3"
        )

        shown = await svix.message_attempt.get("one", message_id, ident)
        raw = (await gateway.http().get(f"/api/v1/app/one/msg/{message_id}/attempt/{ident}")).json()

        assert (shown.id, shown.msg_id, shown.endpoint_id) == (
            ident,
            message_id,
            tenant.endpoint_id,
        )
        assert (shown.status, shown.status_text) == (
            MessageStatus.SUCCESS, MessageStatusText.SUCCESS,
        )  # fmt: skip
        assert (shown.response, shown.response_status_code) == ("thanks", 201)
        assert (shown.response_duration_ms, shown.url) == (12, URL)
        assert shown.timestamp == at
        assert raw["phasesMs"] == {"dns": 1, "connect": 2, "tls": 3, "firstByte": 4, "body": 5}
        assert (raw["address"], raw["tls"], raw["verdict"]) == (
            "203.0.113.9", "TLSv1.3", "delivered",
        )  # fmt: skip

    async def test_without_an_answer_the_code_is_0_and_the_fault_is_the_response(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        message_id = await tenant.owed(State.RETRYING, attempts=1)
        ident = await tenant.tried(message_id, None)
        binary = await tenant.tried(message_id, 500, response=b"\xff\x00")

        unanswered = await svix.message_attempt.get("one", message_id, ident)
        unreadable = await svix.message_attempt.get("one", message_id, binary)

        assert (unanswered.response_status_code, unanswered.response) == (0, "nobody listens")
        assert unanswered.status_text == MessageStatusText.FAIL
        assert base64.b64decode(unreadable.response) == b"\xff\x00"

    async def test_attempts_of_an_endpoint_are_paged_and_filtered(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        at = rows.now() - timedelta(hours=1)
        message_id = await rows.message(
            tenant.link, tenant.app_id, at, channels=["c1"], tags=["t1"]
        )
        other_message = await rows.message(tenant.link, tenant.app_id, at)
        put: list[tuple[str, int | None, str, str]] = [
            ("ok", 200, message_id, "user.created"),
            ("missing", 404, message_id, "other.type"),
            ("broken", 500, other_message, "user.created"),
            ("silent", None, other_message, "user.created"),
        ]
        named = {
            await tenant.tried(of, status, at=at + n * SECOND, event_type=kind): name
            for n, (name, status, of, kind) in enumerate(put)
        }
        await rows.attempt(tenant.link, tenant.app_id, message_id, tenant.other_id, 200)

        async def listed(**options: object) -> list[str]:
            page = await svix.message_attempt.list_by_endpoint("one", "e1", ByEndpoint(**options))
            return [named[attempt.id] for attempt in page.data]

        assert await listed() == ["silent", "broken", "missing", "ok"]
        assert await listed(status=MessageStatus.SUCCESS) == ["ok"]
        assert await listed(status=MessageStatus.FAIL) == ["silent", "broken", "missing"]
        assert await listed(status=MessageStatus.PENDING) == []
        assert await listed(status_code_class=StatusCodeClass.CODE_NONE) == ["silent"]
        assert await listed(status_code_class=StatusCodeClass.CODE4XX) == ["missing"]
        assert await listed(
            status=MessageStatus.FAIL, status_code_class=StatusCodeClass.CODE5XX
        ) == ["broken"]
        assert await listed(event_types=["other.type"]) == ["missing"]
        assert await listed(channel="c1") == ["missing", "ok"]
        assert await listed(tag="t1", status=MessageStatus.FAIL) == ["missing"]
        assert await listed(before=at + 2 * SECOND) == ["missing", "ok"]
        assert await listed(after=at + 2 * SECOND) == ["silent", "broken"]
        assert await listed(after=at, limit=1) == ["ok"]

    async def test_pages_of_attempts_go_both_ways(self, svix: SvixAsync, tenant: Tenant) -> None:
        at = rows.now() - timedelta(hours=1)
        message_id = await rows.message(tenant.link, tenant.app_id, at)
        made = [await tenant.tried(message_id, 500, at=at + n * SECOND) for n in range(5)][::-1]
        for failed in (None, MessageStatus.FAIL):
            first = await svix.message_attempt.list_by_endpoint(
                "one", "e1", ByEndpoint(limit=2, status=failed)
            )
            second = await svix.message_attempt.list_by_endpoint(
                "one", "e1", ByEndpoint(limit=2, iterator=first.iterator, status=failed)
            )
            back = await svix.message_attempt.list_by_endpoint(
                "one", "e1", ByEndpoint(limit=2, iterator=second.prev_iterator, status=failed)
            )
            of_message = await svix.message_attempt.list_by_msg(
                "one", message_id, ByMessage(limit=2, iterator=second.prev_iterator)
            )

            assert [a.id for a in first.data] == made[:2]
            assert [a.id for a in second.data] == made[2:4]
            assert [a.id for a in back.data] == [a.id for a in of_message.data] == made[:2]
            assert (first.done, second.done, back.done) == (False, False, True)

    async def test_content_and_message_are_shown_when_they_are_asked_for(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        message_id = await tenant.owed(State.DELIVERED, attempts=1)
        await tenant.tried(message_id)

        plain = await svix.message_attempt.list_by_endpoint("one", "e1")
        whole = await svix.message_attempt.list_by_endpoint(
            "one", "e1", ByEndpoint(with_content=True, with_msg=True)
        )

        assert (plain.data[0].response, plain.data[0].msg) == ("", None)
        assert whole.data[0].response == "thanks"
        assert whole.data[0].msg is not None
        assert (whole.data[0].msg.id, whole.data[0].msg.payload) == (message_id, {})

    async def test_attempts_of_a_message_can_be_those_of_one_endpoint(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        message_id = await tenant.owed(State.DELIVERED, attempts=1)
        await rows.message(tenant.link, tenant.app_id, event_id="e-1")
        mine = await tenant.tried(message_id)
        other = await rows.attempt(tenant.link, tenant.app_id, message_id, tenant.other_id, 500)

        async def listed(ref: str, **options: object) -> set[str]:
            page = await svix.message_attempt.list_by_msg("one", ref, ByMessage(**options))
            return {attempt.id for attempt in page.data}

        assert await listed(message_id) == {mine, other}
        assert await listed(message_id, endpoint_id="e1") == {mine}
        assert await listed(message_id, endpoint_id=tenant.other_id) == {other}
        assert await listed(message_id, status=MessageStatus.FAIL) == {other}
        assert await listed("e-1") == set()
        await refused(
            svix.message_attempt.list_by_msg(
                "one", message_id, ByMessage(endpoint_id="nobody")
            ), 404, "not_found",
        )  # fmt: skip

    async def test_an_expunged_answer_says_so(self, svix: SvixAsync, tenant: Tenant) -> None:
        message_id = await tenant.owed(State.DEAD, attempts=1)
        ident = await tenant.tried(message_id, 500)
        await rows.letter(
            tenant.link, tenant.app_id, message_id, tenant.endpoint_id, last_attempt_id=ident
        )

        await svix.message_attempt.expunge_content("one", message_id, ident)

        shown = await svix.message_attempt.get(
            "one", message_id, ident, MessageAttemptGetOptions(expanded_statuses=True)
        )
        kept = await tenant.link.fetchval(
            "SELECT response FROM dead_letter WHERE app_id = $1", tenant.app_id
        )
        assert (shown.response, shown.response_status_code) == ("EXPUNGED", 500)
        assert kept is None

    async def test_headers_of_a_deleted_endpoint_and_an_expunged_answer_are_not_told(
        self, svix: SvixAsync, gateway: Gateway, tenant: Tenant
    ) -> None:
        await svix.endpoint.set_headers(
            "one", "e1", EndpointHeadersIn(headers={"X-A": "b", "X-Api-Key": "s3cret"})
        )
        message_id = await tenant.owed(State.DEAD, attempts=1)
        ident = await tenant.tried(message_id, 500)
        path = f"/api/v1/app/one/msg/{message_id}/attempt/{ident}/headers"

        before = (await gateway.http().get(path)).json()
        await svix.message_attempt.expunge_content("one", message_id, ident)
        await svix.endpoint.delete("one", "e1")
        after = (await gateway.http().get(path)).json()

        assert before["sentHeaders"]["x-a"] == "b"
        assert before["sensitive"] == ["x-api-key", "webhook-signature"]
        assert before["responseHeaders"] == [["content-type", "text/plain"]]
        assert before["sentHeaders"].items() - after["sentHeaders"].items() == {("x-a", "b")}
        assert (after["sensitive"], after["responseHeaders"]) == (["webhook-signature"], None)

    async def test_headers_are_of_the_attempts_message_and_app_only(
        self, svix: SvixAsync, gateway: Gateway, tenant: Tenant
    ) -> None:
        message_id = await tenant.owed(State.DELIVERED)
        other = await tenant.owed(State.DELIVERED)
        ident = await tenant.tried(message_id)
        await svix.application.create(ApplicationIn(name="Two", uid="two"))

        for place in (
            f"one/msg/{other}/attempt/{ident}",
            f"two/msg/{message_id}/attempt/{ident}",
            f"one/msg/{message_id}/attempt/atmpt_x",
        ):
            assert (await gateway.http().get(f"/api/v1/app/{place}/headers")).status_code == 404

    async def test_an_attempt_is_of_its_message_and_app_only(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        message_id = await tenant.owed(State.DELIVERED)
        other = await tenant.owed(State.DELIVERED)
        ident = await tenant.tried(message_id)
        await svix.application.create(ApplicationIn(name="Two", uid="two"))

        get = svix.message_attempt.get
        await refused(get("one", other, ident), 404, "not_found")
        await refused(get("two", message_id, ident), 404, "not_found")
        await refused(get("one", message_id, "atmpt_1"), 404, "not_found")
        await refused(svix.message_attempt.list_by_endpoint("two", "e1"), 404, "not_found")
        await refused(svix.message_attempt.expunge_content("one", other, ident), 404, "not_found")


STANDINGS = {
    "new": (State.PENDING, 0, MessageStatus.PENDING),
    "again": (State.RETRYING, 2, MessageStatus.SENDING),
    "arrived": (State.DELIVERED, 1, MessageStatus.SUCCESS),
    "given_up": (State.DEAD, 10, MessageStatus.FAIL),
    "called_off": (State.CANCELLED, 1, MessageStatus.CANCELED),
}


async def stand(tenant: Tenant, due_at: datetime) -> dict[str, str]:
    """Store a message for each standing, a second apart; give their names."""
    start = rows.now() - timedelta(hours=1)
    named = {}
    for n, (name, (state, attempts, _)) in enumerate(STANDINGS.items()):
        due = {"due_at": due_at} if name == "again" else {}
        ident = await tenant.owed(state, at=start + n * SECOND, attempts=attempts, **due)
        named[ident] = name
    return named


class TestDeliveries:
    async def test_messages_of_an_endpoint_are_shown_with_where_they_stand(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        due_at = (rows.now() + timedelta(hours=1)).replace(microsecond=0)
        named = await stand(tenant, due_at)

        page = await svix.message_attempt.list_attempted_messages("one", "e1")

        shown = {named[message.id]: message for message in page.data}
        assert list(shown) == list(STANDINGS)[::-1]
        assert {name: m.status for name, m in shown.items()} == {
            name: status for name, (_, _, status) in STANDINGS.items()
        }
        assert shown["again"].next_attempt == due_at
        assert shown["arrived"].next_attempt is None
        assert shown["called_off"].status_text == MessageStatusText.CANCELED

    async def test_the_filter_by_status_finds_what_is_shown_with_it(
        self, svix: SvixAsync, gateway: Gateway, tenant: Tenant
    ) -> None:
        named = await stand(tenant, rows.now())

        for name, (_, _, status) in STANDINGS.items():
            page = await svix.message_attempt.list_attempted_messages(
                "one", "e1", Attempted(status=status)
            )
            assert [named[m.id] for m in page.data] == [name]
        plain = await gateway.http().get("/api/v1/app/one/endpoint/e1/msg?status=0")
        assert [(named[m["id"]], m["status"]) for m in plain.json()["data"]] == [
            ("called_off", 0), ("arrived", 0),
        ]  # fmt: skip

    async def test_messages_of_an_endpoint_are_filtered_and_paged_both_ways(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        at = rows.now() - timedelta(hours=1)
        for state, status in ((State.DEAD, MessageStatus.FAIL), (State.DELIVERED, None)):
            made = [await tenant.owed(state, at=at + n * SECOND) for n in range(5)][::-1]
            await tenant.link.execute(
                "UPDATE message SET channels = '{c1}', tags = '{t1}', event_type = 'x' "
                "WHERE app_id = $1 AND id = $2", tenant.app_id, made[1],
            )  # fmt: skip

            async def listed(
                status: MessageStatus | None = status, **options: object
            ) -> tuple[list[str], str | None, str | None]:
                page = await svix.message_attempt.list_attempted_messages(
                    "one", "e1", Attempted(status=status, **options)
                )
                return [m.id for m in page.data], page.iterator, page.prev_iterator

            first, down, _ = await listed(limit=2)
            second, _, up = await listed(limit=2, iterator=down)
            back, _, _ = await listed(limit=2, iterator=up)
            assert (first, second, back) == (made[:2], made[2:4], made[:2])
            for wanted in ({"channel": "c1"}, {"tag": "t1"}, {"event_types": ["x"]}):
                assert (await listed(**wanted))[0] == [made[1]]
            assert (await listed(before=at + 2 * SECOND))[0] == made[3:]
            assert (await listed(after=at + 3 * SECOND))[0] == made[:2]
            await tenant.link.execute("DELETE FROM delivery WHERE app_id = $1", tenant.app_id)

    async def test_endpoints_of_a_message_are_shown_with_where_it_stands_deleted_ones_too(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        message_id = await tenant.owed(State.DEAD, attempts=10)
        due_at = (rows.now() + timedelta(hours=1)).replace(microsecond=0)
        await rows.delivery(
            tenant.link, tenant.app_id, message_id, tenant.other_id, State.RETRYING,
            due_at=due_at, attempts=1,
        )  # fmt: skip
        await svix.endpoint.delete("one", "e1")

        page = await svix.message_attempt.list_attempted_destinations("one", message_id)
        first = await svix.message_attempt.list_attempted_destinations(
            "one", message_id, Destinations(limit=1)
        )
        rest = await svix.message_attempt.list_attempted_destinations(
            "one", message_id, Destinations(limit=1, iterator=first.iterator)
        )

        assert [(e.id, e.status, e.next_attempt) for e in page.data] == [
            (tenant.endpoint_id, MessageStatus.FAIL, None),
            (tenant.other_id, MessageStatus.SENDING, due_at),
        ]
        assert [e.id for e in first.data + rest.data] == [tenant.endpoint_id, tenant.other_id]
        assert (page.done, first.done, rest.done) == (True, False, True)

    @pytest.mark.usefixtures("tenant")
    async def test_a_message_just_accepted_has_no_attempts_yet(self, svix: SvixAsync) -> None:
        made = await svix.message.create("one", MessageIn(event_type="a", payload={}))

        attempts = await svix.message_attempt.list_by_msg("one", made.id)
        destinations = await svix.message_attempt.list_attempted_destinations("one", made.id)

        assert attempts.data == destinations.data == []


class TestResending:
    @pytest.mark.parametrize(
        ("state", "failures", "expected"),
        [
            (State.PENDING, 0, ("pending", 0, 0)),
            (State.RETRYING, 3, ("retrying", 3, 0)),
            (State.DEAD, 10, ("pending", 0, 1)),
            (State.DELIVERED, 0, ("pending", 0, 1)),
            (State.CANCELLED, 2, ("pending", 0, 1)),
        ],
    )
    async def test_it_is_owed_at_once_and_what_had_ended_starts_a_new_run(
        self,
        svix: SvixAsync,
        tenant: Tenant,
        bus: Client,
        state: State,
        *,
        failures: int,
        expected: tuple[str, int, int],
    ) -> None:
        later = rows.now() + timedelta(hours=1)
        due = {"due_at": later} if state in {State.PENDING, State.RETRYING} else {}
        arrived = {"delivered_at": later} if state is State.DELIVERED else {}
        message_id = await tenant.owed(
            state, failures=failures, attempts=failures, reason="exhausted", **due, **arrived
        )

        async with rung(bus, tenant.app_id) as ring:
            await svix.message_attempt.resend("one", message_id, "e1")
            await ring()

        row = await tenant.delivery(message_id)
        assert (row["state"], row["failures"], row["run"]) == expected
        assert (row["manual"], row["reason"], row["attempts"]) == (True, None, failures)
        assert row["due_at"] <= rows.now()
        assert row["delivered_at"] == arrived.get("delivered_at")
        assert await wakes(tenant) == {tenant.endpoint_id}

    async def test_a_message_can_be_sent_to_an_endpoint_that_never_was_owed_it(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        message_id = await rows.message(tenant.link, tenant.app_id, event_id="e-1")

        answer = await svix.message_attempt.resend("one", "e-1", "e1")

        row = await tenant.delivery(message_id)
        assert answer.model_dump() == {}
        assert (row["state"], row["manual"], row["run"]) == ("pending", True, 0)
        assert row["shard"] == ids.shard_of(tenant.app_id, SHARDS)

    async def test_its_dead_letter_is_on_its_way_with_it(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        message_id = await tenant.owed(State.DEAD)
        letter = await rows.letter(tenant.link, tenant.app_id, message_id, tenant.endpoint_id)

        await svix.message_attempt.resend("one", message_id, "e1")

        state = await tenant.link.fetchval("SELECT state FROM dead_letter WHERE id = $1", letter)
        assert state == "redelivering"

    async def test_a_disabled_endpoint_is_named_as_the_reason_and_nothing_changes(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        message_id = await tenant.owed(State.DEAD)
        await svix.endpoint.patch("one", "e1", EndpointPatch(disabled=True))

        error = await refused(
            svix.message_attempt.resend("one", message_id, "e1"), 400, "endpoint_disabled"
        )

        assert "enable" in error.detail
        assert (await tenant.delivery(message_id))["state"] == "dead"

    async def test_a_deleted_endpoint_and_an_unknown_message_are_not_found(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        message_id = await tenant.owed(State.DEAD)
        unknown = ids.new_id(ids.MESSAGE, rows.now())
        await svix.endpoint.delete("one", "e2")

        resend = svix.message_attempt.resend
        await refused(resend("one", message_id, tenant.other_id), 404, "not_found")
        await refused(resend("one", unknown, "e1"), 404, "not_found")

    async def test_one_accepted_just_now_is_waited_for_and_then_sent(
        self, svix: SvixAsync, tenant: Tenant
    ) -> None:
        made = await svix.message.create("one", MessageIn(event_type="a", payload={}))
        waiting = asyncio.ensure_future(svix.message_attempt.resend("one", made.id, "e1"))
        await asyncio.sleep(0)

        await rows.message(tenant.link, tenant.app_id, id=made.id)
        await waiting

        assert (await tenant.delivery(made.id))["manual"]

    @pytest.mark.usefixtures("tenant")
    async def test_one_that_no_intake_takes_is_answered_with_try_again(
        self, gateway: Gateway, svix: SvixAsync
    ) -> None:
        made = await svix.message.create("one", MessageIn(event_type="a", payload={}))

        answer = await gateway.http().post(f"/api/v1/app/one/msg/{made.id}/endpoint/e1/resend")

        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1


async def wakes(tenant: Tenant) -> set[str]:
    """Give the endpoints whose owner must look."""
    found = await tenant.link.fetch(
        "SELECT endpoint_id FROM wake WHERE app_id = $1 AND shard = $2",
        tenant.app_id, ids.shard_of(tenant.app_id, SHARDS),
    )  # fmt: skip
    return {row["endpoint_id"] for row in found}
