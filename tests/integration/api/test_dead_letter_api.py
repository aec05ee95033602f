"""Dead letters and rejected events over HTTP, on a real Postgres."""

import asyncio
import base64
from datetime import timedelta

import httpx
import pytest
from svix.api import ApplicationIn, EndpointPatch, SvixAsync

from schema import ids
from schema.api_key import KeyKind
from tests import rows
from tests.gateway_server import Gateway, make_key
from tests.services import SHARDS
from tests.tenants import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECOND = timedelta(seconds=1)
LETTERS = "/api/v1/app/one/dead-letter"
REJECTED = "/api/v1/rejected-event"


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def delivery_of(tenant: Tenant, letter_id: str) -> dict[str, object]:
    letter = await tenant.letter(letter_id)
    return await tenant.delivery(str(letter["message_id"]), str(letter["endpoint_id"]))


class TestReading:
    async def test_a_letter_is_shown_whole_with_its_payload_as_it_was(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        payload = b'{ "a": 1.50 }'
        ident = await tenant.parked(payload=payload, event_id="e-1", channels=["c"])

        answer = await http.get(f"{LETTERS}/{ident}")

        letter = answer.json()
        row = await tenant.letter(ident)
        assert b'"payload":' + payload in answer.content
        assert (letter["messageId"], letter["endpointId"]) == (
            row["message_id"],
            row["endpoint_id"],
        )
        assert (letter["eventType"], letter["eventId"], letter["channels"]) == (
            "user.created", "e-1", ["c"],
        )  # fmt: skip
        assert (letter["state"], letter["reason"], letter["errorClass"]) == (
            "parked", "exhausted", "http_5xx",
        )  # fmt: skip
        assert (letter["responseStatusCode"], letter["response"]) == (500, "oh no")
        assert letter["responseHeaders"] == [["content-type", "text/plain"]]
        assert (letter["attempts"], letter["fingerprint"]) == (10, "0123456789abcdef")
        assert letter["contentType"] == "application/json"
        assert letter["parkedAt"].endswith("Z")

    async def test_a_letter_without_an_answer_names_the_fault(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        ident = await tenant.parked(
            status=None, fault="tls", detail="certificate expired", response=None, payload=None
        )

        letter = (await http.get(f"{LETTERS}/{ident}")).json()

        assert (letter["errorClass"], letter["responseStatusCode"]) == ("tls", 0)
        assert (letter["detail"], letter["response"]) == ("certificate expired", None)
        assert letter["payload"] == {"expired": True}

    async def test_the_list_is_filtered_and_leaves_payloads_out(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        at = rows.now() - timedelta(hours=1)
        put: dict[str, dict[str, object]] = {
            "plain": {},
            "elsewhere": {"endpoint_id": tenant.other_id},
            "typed": {"event_type": "other.type"},
            "gone": {"reason": "gone", "status": 410},
            "silent": {"status": None, "fault": "dns"},
            "given_up": {"state": "discarded"},
        }
        named = {
            await tenant.parked(at + n * SECOND, **columns): name
            for n, (name, columns) in enumerate(put.items())
        }

        async def listed(**query: str) -> list[str]:
            answer = await http.get(LETTERS, params=query)
            assert all("payload" not in line for line in answer.json()["data"])
            return [named[line["id"]] for line in answer.json()["data"]]

        assert await listed() == ["silent", "gone", "typed", "elsewhere", "plain"]
        assert await listed(endpoint_id="e2") == ["elsewhere"]
        assert await listed(endpoint_id=tenant.other_id) == ["elsewhere"]
        assert await listed(event_types="other.type,nothing") == ["typed"]
        assert await listed(reason="gone") == ["gone"]
        assert await listed(status_code_class="400") == ["gone"]
        assert await listed(status_code_class="0") == ["silent"]
        assert await listed(fault="dns", endpoint_id="e1") == ["silent"]
        assert await listed(state="discarded") == ["given_up"]
        assert await listed(before=(at + SECOND).isoformat()) == ["plain"]
        assert await listed(after=(at + 4 * SECOND).isoformat()) == ["silent"]

    async def test_pages_go_both_ways_by_app_and_by_endpoint(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        at = rows.now() - timedelta(days=200)
        made = [await tenant.parked(at + n * SECOND) for n in range(5)][::-1]

        for by in ({}, {"endpoint_id": "e1"}):
            first = (await http.get(LETTERS, params={**by, "limit": 2})).json()
            after = {**by, "limit": 2, "iterator": first["iterator"]}
            second = (await http.get(LETTERS, params=after)).json()
            before = {**by, "limit": 2, "iterator": second["prevIterator"]}
            back = (await http.get(LETTERS, params=before)).json()

            assert [line["id"] for line in first["data"] + second["data"]] == made[:4]
            assert [line["id"] for line in back["data"]] == made[:2]
            assert (first["done"], second["done"], back["done"]) == (False, False, True)

    async def test_a_letter_is_its_apps_own(
        self, gateway: Gateway, svix: SvixAsync, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        ident = await tenant.parked()
        two = await svix.application.create(ApplicationIn(name="Two", uid="two"))
        key = await make_key(gateway.pool, gateway.environment_id, kind=KeyKind.APP, app_id=two.id)

        refused(await http.get(f"/api/v1/app/two/dead-letter/{ident}"), 404, "not_found")
        refused(await gateway.http(key).get(f"{LETTERS}/{ident}"), 404, "not_found")
        refused(await http.get(f"{LETTERS}/dl_1"), 404, "not_found")

    @pytest.mark.usefixtures("tenant")
    @pytest.mark.parametrize(
        "query", ["state=lost", "reason=none", "fault=bad", "status_code_class=450", "before=x"]
    )
    async def test_what_cannot_be_read_of_a_query_is_refused(
        self, http: httpx.AsyncClient, query: str
    ) -> None:
        refused(await http.get(f"{LETTERS}?{query}"), 400, "generic_error")


class TestRedelivering:
    @pytest.mark.parametrize("state", ["parked", "discarded", "redelivered"])
    async def test_a_letter_is_owed_again_with_its_history(
        self, http: httpx.AsyncClient, tenant: Tenant, state: str
    ) -> None:
        ident = await tenant.parked(state=state)

        answer = await http.post(f"{LETTERS}/{ident}/redeliver")

        row = await delivery_of(tenant, ident)
        assert (answer.status_code, answer.json()["state"]) == (202, "redelivering")
        assert (row["state"], row["attempts"], row["failures"]) == ("pending", 10, 0)
        assert (row["run"], row["manual"], row["reason"]) == (1, True, None)
        assert row["due_at"] <= rows.now()
        assert await tenant.link.fetchval(
            "SELECT count(*) FROM wake WHERE app_id = $1 AND shard = $2",
            tenant.app_id, ids.shard_of(tenant.app_id, SHARDS),
        )  # fmt: skip
        assert len(await tenant.audited("dead_letter.redeliver")) == 1

    async def test_asking_many_times_sends_once(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        ident = await tenant.parked()

        answers = await asyncio.gather(
            *(http.post(f"{LETTERS}/{ident}/redeliver") for _ in range(8))
        )

        assert {answer.status_code for answer in answers} == {202}
        assert (await delivery_of(tenant, ident))["run"] == 1
        assert len(await tenant.audited("dead_letter.redeliver")) == 1

    async def test_a_letter_outlives_its_message(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        ident = await tenant.parked(payload=b'{"kept": true}')
        for table in ("delivery", "message"):
            await tenant.link.execute(f"DELETE FROM {table} WHERE app_id = $1", tenant.app_id)

        answer = await http.post(f"{LETTERS}/{ident}/redeliver")

        row = await delivery_of(tenant, ident)
        payload = await tenant.link.fetchval(
            "SELECT payload FROM message WHERE app_id = $1 AND id = $2",
            tenant.app_id, row["message_id"],
        )  # fmt: skip
        assert answer.status_code == 202
        assert (row["state"], payload) == ("pending", b'{"kept": true}')

    async def test_what_stands_in_the_way_is_said_and_the_letter_stays(
        self, http: httpx.AsyncClient, svix: SvixAsync, tenant: Tenant
    ) -> None:
        expunged = await tenant.parked(payload=None)
        disabled = await tenant.parked()
        deleted = await tenant.parked(endpoint_id=tenant.other_id)
        await svix.endpoint.patch("one", "e1", EndpointPatch(disabled=True))
        await svix.endpoint.delete("one", "e2")

        for ident, code in (
            (expunged, "missing_payload"),
            (disabled, "endpoint_disabled"),
            (deleted, "endpoint_deleted"),
        ):
            refused(await http.post(f"{LETTERS}/{ident}/redeliver"), 400, code)
            assert (await tenant.letter(ident))["state"] == "parked"
            assert (await delivery_of(tenant, ident))["state"] == "dead"


class TestDiscarding:
    async def test_a_parked_letter_is_discarded_and_the_reason_is_audited(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        ident = await tenant.parked()

        answer = await http.post(f"{LETTERS}/{ident}/discard", json={"reason": "test data"})

        assert (answer.status_code, answer.content) == (204, b"")
        assert (await tenant.letter(ident))["state"] == "discarded"
        audited = await tenant.audited("dead_letter.discard")
        assert [(entry["object"], entry["detail"]) for entry in audited] == [
            (ident, {"reason": "test data"})
        ]

    async def test_no_body_is_needed_and_only_a_parked_letter_can_be_discarded(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        ident = await tenant.parked()
        on_its_way = await tenant.parked(state="redelivering")

        assert (await http.post(f"{LETTERS}/{ident}/discard")).status_code == 204
        refused(await http.post(f"{LETTERS}/{ident}/discard"), 400, "generic_error")
        refused(await http.post(f"{LETTERS}/{on_its_way}/discard"), 400, "generic_error")
        assert (await tenant.letter(on_its_way))["state"] == "redelivering"


class TestRejectedEvents:
    async def test_an_environment_sees_its_own_and_the_installations_operator_the_stray_too(
        self, gateway: Gateway, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        at = rows.now() - timedelta(hours=1)
        await tenant.link.execute("DELETE FROM rejected_event")
        own, stray, other = [
            await rows.rejected(tenant.link, environment, at + n * SECOND)
            for n, environment in enumerate((gateway.environment_id, None, "org_other"))
        ]
        plain = gateway.http(await make_key(gateway.pool, gateway.environment_id))

        async def listed(client: httpx.AsyncClient) -> list[str]:
            return [line["id"] for line in (await client.get(REJECTED)).json()["data"]]

        assert await listed(http) == [stray, own]
        assert await listed(plain) == [own]
        assert (await http.get(f"{REJECTED}/{stray}")).status_code == 200
        refused(await plain.get(f"{REJECTED}/{stray}"), 404, "not_found")
        refused(await http.get(f"{REJECTED}/{other}"), 404, "not_found")

    async def test_one_is_shown_with_its_bytes_as_text_or_base64(
        self, gateway: Gateway, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        text = await rows.rejected(tenant.link, gateway.environment_id)
        binary = await rows.rejected(tenant.link, gateway.environment_id, body=b"\xff\x00")

        shown = (await http.get(f"{REJECTED}/{text}")).json()
        encoded = (await http.get(f"{REJECTED}/{binary}")).json()

        assert (shown["body"], shown["bodyEncoding"]) == ("{", "text")
        assert (shown["reason"], shown["detail"]) == ("not_json", "unexpected end")
        assert (shown["subject"], shown["headers"]) == (
            "shard.1.nobody.user.created", {"ce-id": "1"},
        )  # fmt: skip
        assert encoded["bodyEncoding"] == "base64"
        assert base64.b64decode(encoded["body"]) == b"\xff\x00"

    async def test_pages_run_over_both_kinds_in_order_and_filters_narrow_them(
        self, gateway: Gateway, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await tenant.link.execute("DELETE FROM rejected_event")
        at = rows.now() - timedelta(hours=1)
        made = [
            await rows.rejected(
                tenant.link,
                None if n % 2 else gateway.environment_id,
                at + n * SECOND,
                reason="too_large" if n == 3 else "not_json",
            )
            for n in range(5)
        ][::-1]

        first = (await http.get(REJECTED, params={"limit": 3})).json()
        iterator = {"limit": 3, "iterator": first["iterator"]}
        second = (await http.get(REJECTED, params=iterator)).json()
        iterator = {"limit": 3, "iterator": second["prevIterator"]}
        back = (await http.get(REJECTED, params=iterator)).json()
        narrowed = (await http.get(REJECTED, params={"reason": "too_large"})).json()

        assert [line["id"] for line in first["data"] + second["data"]] == made
        assert (first["done"], second["done"], back["done"]) == (False, True, True)
        assert [line["id"] for line in back["data"]] == made[:3]
        assert [line["id"] for line in narrowed["data"]] == [made[1]]

    async def test_a_key_of_an_app_sees_none(self, gateway: Gateway, tenant: Tenant) -> None:
        key = await make_key(
            gateway.pool, gateway.environment_id, kind=KeyKind.APP, app_id=tenant.app_id
        )

        refused(await gateway.http(key).get(REJECTED), 403, "insufficient access")
