"""Rejected events are listed, counted, given up, or mended and published after all."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client

from schema import event, ids
from schema.store.link import Pool
from tests import rows
from tests.gateway_server import Gateway, make_key
from tests.tenants import Desk, Tenant, another_desk

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECOND = timedelta(seconds=1)
AT = rows.now() - timedelta(hours=1)
ALL = "/api/v1/rejected-event"


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def nothing_rejected(pool: Pool) -> None:
    await pool.execute("DELETE FROM rejected_event")


async def rejected(tenant: Tenant, **other: object) -> str:
    """Store an event for the tenant's app that was no JSON."""
    usual = {
        "subject": f"shard.1.{tenant.uid}.user.created", "app": tenant.uid, "headers": {},
    }  # fmt: skip
    return await rows.rejected(tenant.link, tenant.environment_id, **usual | other)


async def stored(bus: Client, sequence: int) -> tuple[str, dict[str, str], bytes]:
    """Give what the stream has at a place."""
    found = await bus.jetstream().get_msg(event.STREAM, seq=sequence)
    return found.subject or "", dict(found.headers or {}), found.data or b""


async def last(bus: Client) -> int:
    return (await bus.jetstream().stream_info(event.STREAM)).state.last_seq


def faults(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [".".join(fault["loc"]) for fault in answer.json()["detail"]]


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code)


class TestListing:
    async def test_lists_and_counts_are_filtered_alike(
        self, desk: Desk, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        kinds: dict[str, dict[str, Any]] = {
            "plain": {}, "large": {"reason": "too_large"}, "other": {"app": "two"},
            "discarded": {"state": "discarded"},
        }  # fmt: skip
        named = {
            await rejected(tenant, at=AT + n * SECOND, **other): name
            for n, (name, other) in enumerate(kinds.items())
        }
        named[await rows.rejected(desk.link, None, AT + 9 * SECOND, app="stray")] = "stray"

        async def listed(**query: str) -> list[str]:
            page = (await http.get(ALL, params=query)).json()
            count = (await http.get(f"{ALL}/count", params=query)).json()
            assert count == {"count": len(page["data"]), "atLeast": False}
            return [named[line["id"]] for line in page["data"]]

        assert await listed() == ["stray", "other", "large", "plain"]
        assert await listed(reason="too_large") == ["large"]
        assert await listed(app="two") == ["other"]
        assert await listed(state="discarded") == ["discarded"]
        assert await listed(before=(AT + SECOND).isoformat()) == ["plain"]
        plain = desk.gateway.http(await make_key(desk.gateway.pool, tenant.environment_id))
        assert (await plain.get(f"{ALL}/count")).json()["count"] == 3


class TestDiscarding:
    async def test_one_is_given_up_once_with_who_when_and_why(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        ident = await rejected(tenant)

        answer = await http.post(f"{ALL}/{ident}/discard", json={"reason": "spam"})
        again = await http.post(f"{ALL}/{ident}/discard")

        shown = (await http.get(f"{ALL}/{ident}")).json()
        assert (answer.status_code, shown["state"]) == (204, "discarded")
        assert shown["stateAt"] is not None
        assert shown["stateBy"].startswith("key_")
        refused(again, 409, "conflict")
        (entry,) = await tenant.audited("rejected_event.discard")
        assert (entry["object"], entry["detail"]) == (ident, {"reason": "spam"})


class TestResubmitting:
    async def test_a_mended_payload_is_published_as_a_new_message_byte_by_byte(
        self, http: httpx.AsyncClient, tenant: Tenant, bus: Client
    ) -> None:
        ident = await rejected(
            tenant,
            body=b'{"amount": 1.50',
            headers={"Hookline-Channels": "eu", "Hookline-Message-Id": "msg_mine", "Mark": "x"},
        )

        answer = await http.post(
            f"{ALL}/{ident}/resubmit", content=b'{"payload": { "amount":1.50 }, "reason": "typo"}'
        )

        shown = answer.json()
        subject, headers, body = await stored(bus, await last(bus))
        assert (answer.status_code, shown["state"]) == (202, "resubmitted")
        assert (shown["appId"], shown["stateBy"][:4]) == (tenant.app_id, "key_")
        assert body == b'{ "amount":1.50 }'
        assert subject.endswith(f".{tenant.app_id}.user.created")
        assert headers[event.MESSAGE_ID] == shown["messageId"] != "msg_mine"
        assert headers[event.CHANNELS] == "eu"
        message = await http.get(f"/api/v1/app/one/msg/{shown['messageId']}")
        assert message.json()["payload"] == {"amount": 1.5}
        (entry,) = await tenant.audited("rejected_event.resubmit")
        assert entry["detail"] == {
            "message": shown["messageId"], "app": tenant.app_id, "reason": "typo",
        }  # fmt: skip

    async def test_one_that_names_an_endpoint_keeps_to_it_or_is_for_all_that_match(
        self, http: httpx.AsyncClient, tenant: Tenant, bus: Client
    ) -> None:
        unknown = f"ep_{'1' * 27}"
        named = [
            await rejected(tenant, body=b"{}", headers={event.ENDPOINT: unknown}) for _ in range(2)
        ]

        kept = await http.post(f"{ALL}/{named[0]}/resubmit", json={})
        moved = await http.post(f"{ALL}/{named[0]}/resubmit", json={"endpointId": tenant.other_id})
        _, first, _ = await stored(bus, await last(bus))
        freed = await http.post(f"{ALL}/{named[1]}/resubmit", json={"endpointId": None})
        _, second, _ = await stored(bus, await last(bus))

        assert faults(kept) == ["body.endpointId"]
        assert (moved.status_code, freed.status_code) == (202, 202)
        assert (first.get(event.ENDPOINT), second.get(event.ENDPOINT)) == (tenant.other_id, None)

    async def test_app_type_event_id_and_lists_may_be_mended_too(
        self, desk: Desk, http: httpx.AsyncClient, tenant: Tenant, bus: Client
    ) -> None:
        two = await desk.tenant("two")
        ident = await rejected(
            tenant, app="nobody", subject="events.nobody", body=b'{"a": 1}',
            headers={
                "ce-id": "not one", "Hookline-Tags": "a,b,c,d,e,f", "Hookline-Channels": "not one",
                "Hookline-Content-Type": "application/vnd.x+json",
            },
        )  # fmt: skip

        answer = await http.post(
            f"{ALL}/{ident}/resubmit",
            json={
                "application": "two", "eventType": "order.paid", "eventId": "e-1", "tags": ["a"],
                "channels": None,
            },
        )  # fmt: skip

        subject, headers, body = await stored(bus, await last(bus))
        assert answer.json()["appId"] == two.app_id
        assert subject.endswith(f".{two.app_id}.order.paid")
        assert (headers[event.EVENT_ID], headers[event.TAGS]) == ("e-1", "a")
        assert event.CHANNELS not in headers
        assert headers[event.CONTENT_TYPE] == "application/vnd.x+json"
        assert body == b'{"a": 1}'

    async def test_a_discarded_one_may_be_resubmitted_and_a_resubmitted_one_never_again(
        self, http: httpx.AsyncClient, tenant: Tenant, bus: Client
    ) -> None:
        ident = await rejected(tenant, state="discarded", body=b"{}")

        answers = [await http.post(f"{ALL}/{ident}/resubmit") for _ in range(2)]
        number = await last(bus)
        discarded = await http.post(f"{ALL}/{ident}/discard")

        assert answers[0].status_code == 202
        refused(answers[1], 409, "conflict")
        refused(discarded, 409, "conflict")
        assert await last(bus) == number

    async def test_of_many_at_once_one_message_comes(
        self, http: httpx.AsyncClient, tenant: Tenant, bus: Client
    ) -> None:
        ident = await rejected(tenant, body=b'{"once": true}')
        before = await last(bus)

        answers = await asyncio.gather(
            *(http.post(f"{ALL}/{ident}/resubmit", json={}) for _ in range(6))
        )

        assert sorted(answer.status_code for answer in answers) == [202, *[409] * 5]
        assert await last(bus) == before + 1
        assert len(await tenant.audited("rejected_event.resubmit")) == 1

    async def test_a_try_after_a_lost_answer_keeps_to_the_message_that_was_chosen(
        self, http: httpx.AsyncClient, tenant: Tenant, bus: Client
    ) -> None:
        chosen = ids.new_id(ids.MESSAGE, rows.now())
        ident = await rejected(
            tenant, body=b'{"again": 1}', message_id=chosen, app_id=tenant.app_id
        )
        too_old = await rejected(
            tenant, body=b'{"again": 1}', app_id=tenant.app_id,
            message_id=ids.new_id(ids.MESSAGE, rows.now() - timedelta(days=2)),
        )  # fmt: skip

        first = await http.post(f"{ALL}/{ident}/resubmit")
        second = await http.post(f"{ALL}/{too_old}/resubmit")

        assert first.json()["messageId"] == chosen
        assert ids.time_of(second.json()["messageId"]) > AT
        assert (await stored(bus, await last(bus)))[2] == b'{"again": 1}'

    async def test_an_event_id_that_is_taken_is_refused(
        self, http: httpx.AsyncClient, tenant: Tenant, bus: Client
    ) -> None:
        await rows.message(tenant.link, tenant.app_id, event_id="taken")
        ident = await rejected(tenant, body=b"{}", headers={event.EVENT_ID: "taken"})
        before = await last(bus)

        refused(await http.post(f"{ALL}/{ident}/resubmit"), 409, "conflict")
        assert await last(bus) == before
        assert (await http.get(f"{ALL}/{ident}")).json()["state"] == "rejected"
        mended = await http.post(f"{ALL}/{ident}/resubmit", json={"eventId": None})
        assert mended.status_code == 202

    @pytest.mark.parametrize(
        ("columns", "body", "where"),
        [
            ({"body": b"{"}, {}, "body.payload"),
            ({"body": b"{}", "subject": "shard.1.one"}, {}, "body.application"),
            ({"body": b"{}", "headers": {"Hookline-App": "nobody"}}, {}, "body.application"),
            ({"body": b"{}"}, {"application": "nobody"}, "body.application"),
            ({"body": b"{}", "headers": {"Hookline-Event-Type": "a b"}}, {}, "body.eventType"),
            ({"body": b"{}", "headers": {"Hookline-Event-Id": "a b"}}, {}, "body.eventId"),
            ({"body": b"{}", "headers": {"Hookline-Tags": "a b"}}, {}, "body.tags"),
            ({"body": b"{}"}, {"eventType": "a b"}, "body.eventType"),
            ({"body": b"{}"}, {"channels": "eu"}, "body.channels"),
        ],
    )
    async def test_what_would_be_rejected_again_is_refused_with_the_place(
        self,
        http: httpx.AsyncClient,
        tenant: Tenant,
        columns: dict[str, object],
        body: dict[str, object],
        where: str,
    ) -> None:
        ident = await rejected(tenant, **columns)

        answer = await http.post(f"{ALL}/{ident}/resubmit", json=body)

        assert faults(answer) == [where]
        assert (await http.get(f"{ALL}/{ident}")).json()["state"] == "rejected"

    async def test_one_of_another_environment_is_not_there(
        self, shared: Gateway, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        async with another_desk(shared) as elsewhere:
            ident = await rejected(await elsewhere.tenant(), body=b"{}")

            for verb in ("discard", "resubmit"):
                refused(await http.post(f"{ALL}/{ident}/{verb}"), 404, "not_found")
        assert tenant.environment_id
