"""Event types through the official client: imported, and payloads held to their schemas."""

from typing import Any, Final

import httpx
import pytest
from nats.aio.client import Client
from svix.api import (
    ApplicationIn,
    EventTypeImportOpenApiIn,
    EventTypeIn,
    EventTypeListOptions,
    EventTypePatch,
    EventTypeUpsertIn,
    MessageIn,
    SvixAsync,
)
from svix.exceptions import HttpError, HTTPValidationError

from schema import ids
from schema.event import MESSAGE_ID
from tests import rows
from tests.dispatching import dispatching, eventually
from tests.gateway_server import Gateway
from tests.services import Services
from tests.tenants import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

TYPE = "invoice.paid"
SCHEMA = {
    "type": "object",
    "required": ["amount"],
    "properties": {"amount": {"type": "integer"}, "lines": {"items": {"type": "string"}}},
}
WEBHOOKS = {
    "openapi": "3.1.0",
    "webhooks": {
        name: {
            "post": {
                "description": f"It is {name}",
                "x-svix-group-name": "pet",
                "requestBody": {"content": {"application/json": {"schema": SCHEMA}}},
            }
        }
        for name in ("pet.new", "pet.gone")
    },
}


async def event_type(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """Make an event type with a schema."""
    body = {"name": TYPE, "description": "Paid", "schemas": {"1": SCHEMA}, **fields}
    said = await http.post("/api/v1/event-type", json=body)
    assert said.status_code == 201, said.text
    return dict(said.json())


async def faults(http: httpx.AsyncClient, name: str = TYPE) -> list[dict[str, Any]]:
    said = await http.get(f"/api/v1/event-type/{name}/schema-fault")
    assert said.status_code == 200, said.text
    return list(said.json()["data"])


async def names(svix: SvixAsync) -> list[str]:
    return [one.name for one in (await svix.event_type.list()).data]


class TestImport:
    async def test_webhooks_of_a_description_become_event_types(self, svix: SvixAsync) -> None:
        said = await svix.event_type.import_openapi(EventTypeImportOpenApiIn(spec=WEBHOOKS))

        made = await svix.event_type.get("pet.new")
        assert said.data.modified == ["pet.gone", "pet.new"]
        assert said.data.to_modify is None
        assert (made.description, made.group_name) == ("It is pet.new", "pet")
        assert made.schemas == {"1": SCHEMA}

    async def test_a_dry_run_changes_nothing_and_the_same_again_is_no_change(
        self, svix: SvixAsync
    ) -> None:
        dry = await svix.event_type.import_openapi(
            EventTypeImportOpenApiIn(spec=WEBHOOKS, dry_run=True)
        )
        assert await names(svix) == []
        await svix.event_type.import_openapi(EventTypeImportOpenApiIn(spec=WEBHOOKS))
        again = await svix.event_type.import_openapi(EventTypeImportOpenApiIn(spec=WEBHOOKS))

        assert dry.data.modified == again.data.modified == []
        assert [one.name for one in dry.data.to_modify or ()] == ["pet.gone", "pet.new"]

    async def test_replacing_all_archives_what_the_description_does_not_have(
        self, svix: SvixAsync
    ) -> None:
        await svix.event_type.create(EventTypeIn(name="old", description=""))
        await svix.event_type.create(EventTypeIn(name="pet.new", description="", archived=True))
        text = "webhooks: {pet.new: {post: {summary: New}}}"

        said = await svix.event_type.import_openapi(
            EventTypeImportOpenApiIn(spec_raw=text, replace_all=True)
        )

        assert said.data.modified == ["pet.new", "old"]
        assert await names(svix) == ["pet.new"]
        everything = EventTypeListOptions(include_archived=True)
        assert len((await svix.event_type.list(everything)).data) == 2

    async def test_only_the_schema_that_counts_is_replaced(self, svix: SvixAsync) -> None:
        schemas = {"1": {"title": "one"}, "2": {"title": "two"}}
        await svix.event_type.create(EventTypeIn(name="pet.new", description="", schemas=schemas))

        await svix.event_type.import_openapi(EventTypeImportOpenApiIn(spec=WEBHOOKS))

        assert (await svix.event_type.get("pet.new")).schemas == {"1": schemas["1"], "2": SCHEMA}

    async def test_what_cannot_be_read_says_where(self, svix: SvixAsync) -> None:
        with pytest.raises(HttpError) as neither:
            await svix.event_type.import_openapi(EventTypeImportOpenApiIn())
        with pytest.raises(HttpError) as both:
            await svix.event_type.import_openapi(
                EventTypeImportOpenApiIn(spec=WEBHOOKS, spec_raw="{}")
            )
        with pytest.raises(HTTPValidationError) as no_webhooks:
            await svix.event_type.import_openapi(EventTypeImportOpenApiIn(spec_raw="a: 1"))
        with pytest.raises(HTTPValidationError) as bad_name:
            await svix.event_type.import_openapi(
                EventTypeImportOpenApiIn(spec={"webhooks": {"a b": {"post": {"summary": "x"}}}})
            )

        assert (neither.value.status_code, both.value.status_code) == (400, 400)
        assert no_webhooks.value.detail[0].loc == ["body", "specRaw"]
        assert bad_name.value.detail[0].loc == ["body", "webhooks", "a b", "name"]


class TestSchemas:
    async def test_a_payload_that_is_not_as_its_schema_says_is_refused(
        self, svix: SvixAsync, http: httpx.AsyncClient
    ) -> None:
        made = await event_type(http, schemaMode="reject")
        app = await svix.application.create(ApplicationIn(name="One"))

        with pytest.raises(HTTPValidationError) as raised:
            await svix.message.create(
                app.id, MessageIn(event_type=TYPE, payload={"amount": 1, "lines": ["a", 2]})
            )
        well = await svix.message.create(app.id, MessageIn(event_type=TYPE, payload={"amount": 1}))
        other = await svix.message.create(app.id, MessageIn(event_type="other", payload={}))

        [detail] = raised.value.detail
        assert (made["schemaMode"], made["schemaVersion"]) == ("reject", None)
        assert detail.loc == ["body", "payload", "lines", "1"]
        assert detail.msg.startswith("/lines/1: ")
        assert detail.type == "value_error.schema"
        assert well.id
        assert other.id
        [place] = await faults(http)
        assert (place["pointer"], place["rule"], place["times"]) == ("/lines/*", "type", 1)
        assert (place["schemaMode"], place["schemaVersion"]) == ("reject", "1")
        assert place["messageId"] is None

    async def test_a_warning_lets_it_pass_and_is_found_again(
        self, svix: SvixAsync, http: httpx.AsyncClient
    ) -> None:
        await event_type(http, schemaMode="warn")
        app = await svix.application.create(ApplicationIn(name="One"))
        sent = [
            await svix.message.create(app.id, MessageIn(event_type=TYPE, payload={"amount": "1"}))
            for _ in range(2)
        ]

        [place] = await faults(http)
        cleared = await http.delete(f"/api/v1/event-type/{TYPE}/schema-fault")

        assert (place["pointer"], place["times"], place["messageId"]) == ("/amount", 2, sent[1].id)
        assert cleared.status_code == 204
        assert await faults(http) == []
        metrics = (await http.get("/metrics")).text
        assert 'hookline_payloads_misshapen_total{mode="warn"}' in metrics

    async def test_of_a_bulk_request_each_message_is_judged(
        self, svix: SvixAsync, http: httpx.AsyncClient
    ) -> None:
        await event_type(http, schemaMode="reject")
        app = await svix.application.create(ApplicationIn(name="One"))
        messages = [
            {"eventType": TYPE, "payload": {"amount": 1}},
            {"eventType": TYPE, "payload": {}, "channels": ["a"]},
            {"eventType": "other", "payload": {}},
        ]

        said = await http.post(f"/api/v1/app/{app.id}/msg/bulk", json={"messages": messages})

        results = said.json()["results"]
        assert [one["status"] for one in results] == ["accepted", "rejected", "accepted"]
        assert results[1]["faults"][0]["loc"] == ["body", "messages", "[1]", "payload"]
        assert [place["rule"] for place in await faults(http)] == ["required"]

    async def test_a_change_counts_for_what_comes_after_it(
        self, svix: SvixAsync, http: httpx.AsyncClient
    ) -> None:
        await event_type(http)
        app = await svix.application.create(ApplicationIn(name="One"))
        bad = MessageIn(event_type=TYPE, payload={})
        await svix.message.create(app.id, bad)

        async def refused() -> bool:
            said = await http.post(
                f"/api/v1/app/{app.id}/msg", json={"eventType": TYPE, "payload": {}}
            )
            return said.status_code == 422

        await http.patch(f"/api/v1/event-type/{TYPE}", json={"schemaMode": "reject"})
        await eventually(refused)
        await svix.event_type.delete(TYPE)
        await eventually(lambda: _not(refused))

    async def test_the_sdks_leave_the_mode_as_it_is(
        self, svix: SvixAsync, http: httpx.AsyncClient
    ) -> None:
        await event_type(http, schemaMode="warn", schemaVersion="1")
        schemas = {"1": SCHEMA, "2": {"type": "object"}}

        await svix.event_type.upsert(TYPE, EventTypeUpsertIn(description="x", schemas=schemas))
        await svix.event_type.patch(TYPE, EventTypePatch(description="y"))

        shown = (await http.get(f"/api/v1/event-type/{TYPE}")).json()
        assert (shown["schemaMode"], shown["schemaVersion"]) == ("warn", "1")

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"schemaMode": "reject", "schemas": None}, "schemas"),
            ({"schemaMode": "reject", "schemaVersion": "7"}, "schemaMode"),
            ({"schemaMode": "reject", "schemas": {"1": {"$ref": "#"}}}, "schemas"),
            ({"schemaMode": "always"}, "schemaMode"),
        ],
    )
    async def test_what_payloads_cannot_be_held_to_is_refused(
        self, http: httpx.AsyncClient, change: dict[str, Any], field: str
    ) -> None:
        await event_type(http)

        said = await http.patch(f"/api/v1/event-type/{TYPE}", json=change)

        assert said.status_code == 422
        assert [fault["loc"][-1] for fault in said.json()["detail"]] == [field]

    async def test_a_rejected_event_is_not_published_while_it_is_not_as_its_schema_says(
        self, tenant: Tenant, http: httpx.AsyncClient
    ) -> None:
        await event_type(http, schemaMode="reject")
        subject = f"events.{tenant.app_id}.{TYPE}"
        rejected = await rows.rejected(
            tenant.link, tenant.environment_id, subject=subject, body=b"{}"
        )
        path = f"/api/v1/rejected-event/{rejected}/resubmit"

        refused = await http.post(path, json={})
        mended = await http.post(path, json={"payload": {"amount": 1}})

        assert (refused.status_code, mended.status_code) == (422, 202)

    async def test_what_is_made_of_a_dead_letter_is_looked_at_too(
        self, tenant: Tenant, http: httpx.AsyncClient
    ) -> None:
        letter = await tenant.parked()
        name = (await tenant.letter(letter))["event_type"]
        await event_type(http, name=name, schemaMode="reject")
        path = f"/api/v1/app/{tenant.app_id}/dead-letter/{letter}/reissue"

        refused = await http.post(path, json={"payload": {}})
        mended = await http.post(path, json={"payload": {"amount": 1}})

        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"] == ["body", "payload"]
        assert mended.status_code < 300


async def _not(condition: Any) -> bool:
    return not await condition()


class TestByNats:
    async def test_an_event_that_is_not_as_its_schema_says_is_rejected_or_noted(
        self,
        gateway: Gateway,
        http: httpx.AsyncClient,
        tenant: Tenant,
        bus: Client,
        services: Services,
    ) -> None:
        await event_type(http, schemaMode="reject")
        await event_type(http, name="noted", schemaMode="warn")
        seen = {MESSAGE_ID: ids.new_id(ids.MESSAGE, rows.now())}

        async with dispatching(gateway.pool, services.nats_url):
            for kind, body, headers in (
                (TYPE, b"{}", {}),
                (TYPE, b'{"amount": 1}', {}),
                (TYPE, b"{}", seen),  # a gateway has looked at it
                ("noted", b"[]", {}),
                ("other", b"{}", {}),
            ):
                await bus.jetstream().publish(
                    f"events.{tenant.app_id}.{kind}", body, headers=headers or None
                )

            async def all_taken() -> bool:
                stored = await tenant.link.fetchval(
                    "SELECT count(*) FROM message WHERE app_id = $1", tenant.app_id
                )
                return bool(stored == 4 and await faults(http, "noted") and await faults(http))

            await eventually(all_taken)

        [listed] = (await http.get("/api/v1/rejected-event")).json()["data"]
        assert (listed["reason"], listed["app"]) == ("schema_mismatch", tenant.app_id)
        assert "amount" in listed["detail"]
        [noted] = await faults(http, "noted")
        assert noted["messageId"] is not None


class TestRetrySchedule:
    PATH = f"/api/v1/event-type/{TYPE}/retry-schedule"
    SCHEDULE: Final = {
        "retrySchedule": [{"secs": 5, "nanos": 0}, {"secs": 0, "nanos": 500_000_000}]
    }

    async def test_a_schedule_is_set_shown_and_taken_away(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await event_type(http)

        before = await http.get(self.PATH)
        put = await http.put(self.PATH, json=self.SCHEDULE)
        shown = await http.get(self.PATH)
        of_type = (await http.get(f"/api/v1/event-type/{TYPE}")).json()
        taken = await http.put(self.PATH, json={"retrySchedule": None})

        assert before.json() == taken.json() == {"retrySchedule": None}
        assert put.json() == shown.json() == self.SCHEDULE
        assert of_type["retryPolicy"] == [5, 0.5]
        assert (await http.get(self.PATH)).json() == {"retrySchedule": None}
        assert [a["object"] for a in await tenant.audited("event_type.update")] == [TYPE, TYPE]

    async def test_a_schedule_outlives_puts_and_the_archive(self, http: httpx.AsyncClient) -> None:
        made = await event_type(http, retryPolicy={"base": 5, "factor": 2, "attempts": 3})
        body = {"name": TYPE, "description": "Paid"}

        put = await http.put(f"/api/v1/event-type/{TYPE}", json=body)
        await http.delete(f"/api/v1/event-type/{TYPE}")
        archived = await http.get(self.PATH)
        back = await http.post("/api/v1/event-type", json=body)
        await http.delete(f"/api/v1/event-type/{TYPE}")
        without = await http.post("/api/v1/event-type", json=body | {"retryPolicy": None})

        assert made["retryPolicy"] == put.json()["retryPolicy"] == [5, 10]
        assert [wait["secs"] for wait in archived.json()["retrySchedule"]] == [5, 10]
        assert back.json()["retryPolicy"] == [5, 10]
        assert without.json()["retryPolicy"] is None

    @pytest.mark.parametrize(
        ("schedule", "loc"),
        [
            ("often", ["body", "retrySchedule"]),
            ([{"secs": 1, "nanos": 0}] * 50, ["body", "retrySchedule"]),
            ([5], ["body", "retrySchedule", "[0]"]),
            ([{"secs": 1}], ["body", "retrySchedule", "[0]", "nanos"]),
            ([{"secs": -1, "nanos": 0}], ["body", "retrySchedule", "[0]", "secs"]),
            ([{"secs": 2_592_000, "nanos": 1}], ["body", "retrySchedule"]),
            ([{"secs": 1, "nanos": 1_000_000_000}], ["body", "retrySchedule", "[0]", "nanos"]),
        ],
    )
    async def test_a_schedule_that_cannot_be_says_where(
        self, http: httpx.AsyncClient, schedule: object, loc: list[str]
    ) -> None:
        await event_type(http)

        said = await http.put(self.PATH, json={"retrySchedule": schedule})

        assert said.status_code == 422
        assert said.json()["detail"][0]["loc"] == loc
        assert (await http.get(self.PATH)).json() == {"retrySchedule": None}

    async def test_there_is_none_where_there_is_no_event_type(
        self, http: httpx.AsyncClient
    ) -> None:
        assert (await http.get(self.PATH)).status_code == 404
        assert (await http.put(self.PATH, json=self.SCHEDULE)).status_code == 404
        assert (await http.get(f"/api/v1/event-type/{TYPE}")).status_code == 404
