"""Tasks over HTTP: made, previewed, shown and moved; done by a real dispatcher."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client
from svix.api import (
    ApplicationIn,
    BackgroundTaskListOptions,
    BulkReplayIn,
    EndpointIn,
    RecoverIn,
    ReplayIn,
    SvixAsync,
)
from svix.exceptions import HTTPValidationError
from svix.models import BackgroundTaskStatus, BackgroundTaskType

from schema import ids
from schema.api_key import KeyKind
from schema.delivery import State
from schema.event import WAKE_ROOT
from tests import rows, tasks
from tests.dispatching import World, eventually
from tests.gateway_server import Gateway, make_key
from tests.receiver import Receiver, answer
from tests.tenants import Desk, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")
lent_to_the_module = pytest_asyncio.fixture(scope="module", loop_scope="module")
lent_to_a_test = pytest_asyncio.fixture(loop_scope="module")

ONE_APP, EVERYWHERE = "/api/v1/app/one/dead-letter", "/api/v1/dead-letter"
TASKS = "/api/v1/task"


def refused(said: httpx.Response, status: int, code: str) -> None:
    assert (said.status_code, said.json()["code"]) == (status, code)


def faults(said: httpx.Response) -> set[str]:
    assert said.status_code == 422, said.text
    return {fault["loc"][-1] for fault in said.json()["detail"]}


async def asked(http: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    """Ask for a task that is made."""
    said = await http.post(path, json=body)
    assert said.status_code == 202, said.text
    return dict(said.json())


async def stands(tenant: Tenant, task: dict[str, Any], state: str) -> None:
    """Have a task stand as a dispatcher would have it."""
    await tenant.link.execute(
        "UPDATE task SET state = $2, started_at = now() WHERE id = $1", task["id"], state
    )


async def another_app_key(desk: Desk) -> str:
    other = await desk.tenant("two")
    return await make_key(
        desk.gateway.pool, desk.gateway.environment_id, kind=KeyKind.APP, app_id=other.app_id
    )


class TestAsking:
    async def test_a_task_is_answered_as_it_was_asked_for_and_waits_for_a_dispatcher(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        said = await http.post(
            f"{ONE_APP}/redeliver?reason=exhausted&endpoint_id=e1",
            json={
                "rate": 2.5, "concurrency": 4, "probe": 3, "stopPercent": 12.5, "order": "newest",
                "retry": False, "toEndpointId": "e2", "jobId": "job-1",
            },
        )  # fmt: skip

        task = said.json()
        assert said.status_code == 202
        assert (task["appId"], task["kind"], task["state"]) == (
            tenant.app_id, "dead_letter.redeliver", "scheduled",
        )  # fmt: skip
        assert (task["jobId"], task["total"], task["percent"]) == ("job-1", None, None)
        assert task["plan"] == {
            "filter": {
                "states": ["parked"], "appIds": [tenant.app_id], "reasons": ["exhausted"],
                "endpointIds": [tenant.endpoint_id],
            },
            "toEndpointId": tenant.other_id, "order": "newest", "rate": 2.5, "concurrency": 4,
            "probe": 3, "stopPercent": 12.5, "retry": False,
        }  # fmt: skip
        (entry,) = await tenant.audited("task.create")
        assert (entry["object"], entry["detail"]) == (
            task["id"], {"kind": "dead_letter.redeliver", "app": tenant.app_id},
        )  # fmt: skip

    async def test_dispatchers_are_rung_when_a_task_is_made(
        self, http: httpx.AsyncClient, bus: Client, tenant: Tenant
    ) -> None:
        rings = await bus.subscribe(f"{WAKE_ROOT}.tasks")
        await bus.flush()

        await asked(http, f"{ONE_APP}/redeliver", letterIds=[await tenant.parked()])

        assert (await rings.next_msg(timeout=5)).data == b""
        await rings.unsubscribe()

    async def test_the_same_job_is_one_task_and_another_plan_is_refused(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        made = await asked(http, f"{ONE_APP}/redeliver", jobId="nightly")

        again = await http.post(f"{ONE_APP}/redeliver", json={"jobId": "nightly"})
        other = await http.post(f"{ONE_APP}/redeliver", json={"jobId": "nightly", "rate": 1})
        everywhere = await asked(http, f"{EVERYWHERE}/redeliver", jobId="nightly")

        assert (again.status_code, again.json()["id"]) == (200, made["id"])
        refused(other, 409, "conflict")
        assert everywhere["id"] != made["id"]
        assert len(await tenant.audited("task.create")) == 2

    @pytest.mark.usefixtures("tenant")
    async def test_a_task_may_begin_later(self, http: httpx.AsyncClient) -> None:
        at = rows.now() + timedelta(hours=3)

        task = await asked(http, f"{ONE_APP}/redeliver", startAt=at.isoformat())
        past = await asked(http, f"{ONE_APP}/redeliver", startAt="2020-01-01T00:00:00Z")

        assert datetime.fromisoformat(task["startAt"]) == at
        assert past["startAt"] == past["createdAt"]

    @pytest.mark.usefixtures("tenant")
    async def test_all_faults_of_a_body_are_said_at_once(self, http: httpx.AsyncClient) -> None:
        said = await http.post(
            f"{ONE_APP}/redeliver",
            json={
                "rate": 0, "concurrency": 0, "probe": "x", "stopPercent": 101, "order": "random",
                "retry": "no", "startAt": "soon", "letterIds": ["msg_1"], "jobId": "",
            },
        )  # fmt: skip

        assert faults(said) == {
            "rate", "concurrency", "probe", "stopPercent", "order", "retry", "startAt", "[0]",
            "letterIds", "jobId",
        }  # fmt: skip

    async def test_letters_are_given_up_only_for_a_reason_and_purged_only_on_purpose(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        discard = await http.post(f"{ONE_APP}/discard", json={})
        purge = await http.post(f"{ONE_APP}/purge", json={"confirm": False})
        task = await asked(http, f"{ONE_APP}/purge", confirm=True, reason="GDPR")

        assert faults(discard) == {"reason"}
        assert faults(purge) == {"reason", "confirm"}
        (entry,) = await tenant.audited("task.create")
        assert (entry["object"], entry["detail"]["reason"]) == (task["id"], "GDPR")

    @pytest.mark.usefixtures("tenant")
    @pytest.mark.parametrize("query", ["endpiont_id=ep_1", "endpoint_id=", "endpoint_id[]=,"])
    async def test_a_misspelt_or_empty_filter_never_means_all_letters(
        self, http: httpx.AsyncClient, query: str
    ) -> None:
        body = {"confirm": True, "reason": "old"}

        said = await http.post(f"{ONE_APP}/purge?{query}", json=body)

        assert faults(said) == {query.partition("=")[0].removesuffix("[]")}

    async def test_letters_are_chosen_in_one_way_and_must_be_there(
        self, http: httpx.AsyncClient, desk: Desk, tenant: Tenant
    ) -> None:
        other = await desk.tenant("two")
        mine, theirs = await tenant.parked(), await other.parked()
        unknown = ids.new_id(ids.DEAD_LETTER, rows.now())

        async def fails(path: str, letter: str) -> set[str]:
            return faults(await http.post(path, json={"letterIds": [letter]}))

        assert await fails(f"{ONE_APP}/redeliver?reason=gone", mine) == {"letterIds"}
        assert await fails(f"{ONE_APP}/redeliver", theirs) == {"letterIds"}
        assert await fails(f"{EVERYWHERE}/redeliver", unknown) == {"letterIds"}
        both = await asked(http, f"{EVERYWHERE}/redeliver", letterIds=[mine, theirs])
        assert (await http.get(f"{TASKS}/{both['id']}")).json()["plan"]["letterIds"] == [
            mine, theirs,
        ]  # fmt: skip

    async def test_another_endpoint_is_one_of_the_same_app(
        self, http: httpx.AsyncClient, desk: Desk, tenant: Tenant
    ) -> None:
        other = await desk.tenant("two")

        elsewhere = await http.post(
            f"{ONE_APP}/redeliver", json={"toEndpointId": other.endpoint_id}
        )
        everywhere = await http.post(
            f"{EVERYWHERE}/redeliver", json={"toEndpointId": tenant.endpoint_id}
        )

        assert (faults(elsewhere), faults(everywhere)) == ({"toEndpointId"}, {"toEndpointId"})


class TestPreview:
    async def test_it_says_where_how_much_what_stands_in_the_way_and_how_long(
        self, http: httpx.AsyncClient, desk: Desk, tenant: Tenant
    ) -> None:
        at = rows.now() - timedelta(hours=1)
        for n in range(4):
            await tenant.parked(at + timedelta(seconds=n), payload=b"12345678")
        await tenant.parked(payload=None)
        await tenant.parked(endpoint_id=tenant.other_id)
        await tenant.link.execute(
            "UPDATE endpoint SET throttle_rate = 2 WHERE id = $1", tenant.endpoint_id
        )
        await tenant.link.execute(
            "UPDATE endpoint SET state = 'disabled' WHERE id = $1", tenant.other_id
        )
        other = await desk.tenant("two")
        await other.parked()
        await other.link.execute(
            "UPDATE endpoint SET deleted_at = now() WHERE id = $1", other.endpoint_id
        )

        said = await http.post(f"{EVERYWHERE}/redeliver", json={"dryRun": True})

        found = said.json()
        assert said.status_code == 200
        assert (found["count"], found["atLeast"], found["bytes"]) == (7, False, 32 + 2 * 8)
        assert found["blocked"] == {
            "endpoint_deleted": 1, "endpoint_disabled": 1, "missing_payload": 1,
        }  # fmt: skip
        assert datetime.fromisoformat(found["oldestAt"]) == at
        assert (found["endpointCount"], found["otherCount"]) == (3, 0)
        largest = found["endpoints"][0]
        assert (largest["endpointId"], largest["count"]) == (tenant.endpoint_id, 5)
        assert largest["blocked"] == {"missing_payload": 1}
        assert found["estimatedSeconds"] == 2.0
        assert (await http.get(TASKS)).json()["data"] == []

    async def test_without_a_rate_the_pace_of_the_endpoint_is_measured_or_nobody_knows(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        letters = [await tenant.parked() for _ in range(6)]

        async def estimate(**body: Any) -> float | None:
            told = {"dryRun": True, "letterIds": letters} | body
            found = (await http.post(f"{ONE_APP}/redeliver", json=told)).json()
            assert found["count"] == 6
            return found["estimatedSeconds"]  # type: ignore[no-any-return]

        unknown, by_task = await estimate(), await estimate(rate=3)
        await tenant.link.execute(
            """INSERT INTO rollup_minute (app_id, endpoint_id, bucket, delivered)
               VALUES ($1, $2, date_trunc('minute', now() - interval '5 minutes'), 30)""",
            tenant.app_id, tenant.endpoint_id,
        )  # fmt: skip

        assert (unknown, by_task) == (None, 2.0)
        assert await estimate() == 12.0
        assert await estimate(rate=0.1) == 60.0
        assert await estimate(toEndpointId="e2") is None

    async def test_what_is_discarded_is_blocked_by_where_it_stands_alone(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        for state in ("parked", "redelivering", "redelivered", "discarded"):
            await tenant.parked(state=state, payload=None)

        async def blocked(word: str) -> dict[str, int]:
            said = await http.post(f"{ONE_APP}/{word}?state=all", json={"dryRun": True})
            assert said.json()["count"] == 4
            return dict(said.json()["blocked"])

        assert await blocked("discard") == {"redelivering": 1, "not_parked": 2}
        assert await blocked("purge") == {"redelivering": 1}
        assert await blocked("redeliver") == {"redelivering": 1, "missing_payload": 3}

    async def test_a_filter_that_looks_into_letters_counts_those_alone_that_it_means(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        for n in range(5):
            await tenant.parked(payload=b'{"n": %d}' % n)

        said = await http.post(
            f"{ONE_APP}/redeliver",
            params={"payload_path": "$.n ? (@ > 2)"},
            json={"dryRun": True},
        )

        assert (said.json()["count"], said.json()["atLeast"]) == (2, False)


class TestReading:
    async def test_lists_are_newest_first_in_pages_and_filtered(
        self, http: httpx.AsyncClient, desk: Desk, tenant: Tenant
    ) -> None:
        await desk.tenant("two")
        made = []
        for path, body in (
            (f"{ONE_APP}/redeliver", {}),
            (f"{ONE_APP}/discard", {"reason": "old"}),
            ("/api/v1/app/two/dead-letter/redeliver", {}),
            (f"{EVERYWHERE}/redeliver", {}),
        ):
            made.append(await asked(http, path, **body))
            await rows.another_moment()
        named = {task["id"]: n for n, task in enumerate(made)}
        await stands(tenant, made[0], "running")

        async def listed(path: str = TASKS, **query: Any) -> list[int]:
            return [
                named[task["id"]] for task in (await http.get(path, params=query)).json()["data"]
            ]

        assert await listed() == [3, 2, 1, 0]
        assert await listed(limit=2) == [3, 2]
        assert await listed(limit=2, iterator=made[2]["id"]) == [1, 0]
        assert await listed(order="ascending", limit=1) == [0]
        assert await listed(state="running") == [0]
        assert await listed(kind="dead_letter.discard") == [1]
        assert await listed(app_id="two") == [2]
        assert await listed("/api/v1/app/one/task") == [1, 0]
        refused(await http.get(TASKS, params={"state": "lost"}), 400, "generic_error")

    async def test_a_tenant_has_its_own_tasks_alone(
        self, http: httpx.AsyncClient, gateway: Gateway, desk: Desk, tenant: Tenant
    ) -> None:
        own = await make_key(
            gateway.pool, gateway.environment_id, kind=KeyKind.PORTAL, app_id=tenant.app_id
        )
        task = await asked(gateway.http(own), f"{ONE_APP}/redeliver")
        everywhere = await asked(http, f"{EVERYWHERE}/redeliver")
        others = gateway.http(await another_app_key(desk))

        for ident, app, client in (
            (task["id"], "two", others), (everywhere["id"], "one", gateway.http(own)),
        ):  # fmt: skip
            above = f"/api/v1/app/{app}/task/{ident}"
            refused(await client.get(above), 404, "not_found")
            refused(await client.get(f"{above}/item"), 404, "not_found")
            refused(await client.post(f"{above}/cancel"), 404, "not_found")
            refused(await client.get(f"{TASKS}/{ident}"), 403, "insufficient access")
        assert (await gateway.http(own).get(f"/api/v1/app/one/task/{task['id']}")).is_success

    async def test_how_it_comes_along_is_told(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        task = await asked(http, f"{ONE_APP}/redeliver")
        await stands(tenant, task, "running")
        await tenant.link.execute(
            """UPDATE task SET total = 400, total_exact = true, items = 100, delivered = 90,
                               skipped = 5, open = 5 WHERE id = $1""", task["id"],
        )  # fmt: skip
        await tenant.link.execute(
            """INSERT INTO task_item (task_id, number, part, app_id, message_id, endpoint_id, state,
                                      at)
               SELECT $1, n, 1, 'a', 'm', 'e', CASE WHEN n > 95 THEN 'sent' ELSE 'delivered' END,
                      now() - interval '10 seconds' FROM generate_series(1, 100) AS n""",
            task["id"],
        )
        await tenant.link.execute(
            """INSERT INTO task_part (task_id, number, app_id, endpoint_id, state, why, sent, tried,
                                      missed) VALUES ($1, 1, 'a', 'e', 'stopped', 'no', 7, 6, 5)""",
            task["id"],
        )

        shown = (await http.get(f"{TASKS}/{task['id']}")).json()

        assert (shown["percent"], shown["total"], shown["totalAtLeast"]) == (23.8, 400, False)
        assert shown["itemsPerSecond"] == pytest.approx(9.5, rel=0.2)
        assert shown["etaSeconds"] == pytest.approx(32, rel=0.25)
        assert shown["stoppedAt"] == [
            {"appId": "a", "endpointId": "e", "why": "no", "sent": 7, "tried": 6, "missed": 5}
        ]

    async def test_items_go_in_pages_both_ways_by_number(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        task = await asked(http, f"{ONE_APP}/redeliver")
        await tenant.link.execute(
            """INSERT INTO task_item (task_id, number, part, app_id, message_id, endpoint_id, state,
                                      detail, at)
               SELECT $1, n, 1, 'a', 'm', 'e', CASE WHEN n % 2 = 0 THEN 'failed' ELSE 'sent' END,
                      'why', now() FROM generate_series(1, 12) AS n""",
            task["id"],
        )

        async def page(**query: Any) -> dict[str, Any]:
            return dict((await http.get(f"{TASKS}/{task['id']}/item", params=query)).json())

        def numbers(found: dict[str, Any]) -> list[int]:
            return [item["number"] for item in found["data"]]

        first = await page(limit=5)
        second = await page(limit=5, iterator=first["iterator"])
        back = await page(limit=5, iterator=second["prevIterator"])

        assert numbers(first) + numbers(second) == list(range(1, 11))
        assert (numbers(back), first["done"], second["done"]) == ([1, 2, 3, 4, 5], False, False)
        assert numbers(await page(limit=3, order="descending")) == [12, 11, 10]
        assert numbers(await page(state="failed")) == [2, 4, 6, 8, 10, 12]
        assert first["data"][0] | {"at": ""} == {
            "number": 1, "appId": "a", "messageId": "m", "endpointId": "e", "letterId": None,
            "state": "sent", "detail": "why", "at": "",
        }  # fmt: skip
        assert (await http.get(f"{TASKS}/{task['id']}/item?iterator=x")).status_code == 422


class TestMoving:
    @pytest.mark.parametrize(
        "move",
        [
            ("scheduled", "pause", "paused"),
            ("running", "pause", "paused"),
            ("paused", "resume", "running"),
            ("scheduled", "cancel", "cancelled"),
            ("running", "cancel", "cancelled"),
            ("paused", "cancel", "cancelled"),
        ],
    )
    async def test_a_task_is_moved_and_dispatchers_are_rung(
        self, http: httpx.AsyncClient, bus: Client, tenant: Tenant, move: tuple[str, str, str]
    ) -> None:
        state, word, to = move
        task = await asked(http, f"{ONE_APP}/redeliver")
        await stands(tenant, task, state)
        rings = await bus.subscribe(f"{WAKE_ROOT}.tasks")
        await bus.flush()

        said = await http.post(f"{TASKS}/{task['id']}/{word}")

        assert (said.status_code, said.json()["state"]) == (200, to)
        assert (said.json()["endedAt"] is not None) is (to == "cancelled")
        await rings.next_msg(timeout=5)
        await rings.unsubscribe()
        assert [entry["object"] for entry in await tenant.audited(f"task.{word}")] == [task["id"]]

    @pytest.mark.parametrize(
        ("state", "word"),
        [
            ("scheduled", "resume"),
            ("running", "resume"),
            ("paused", "pause"),
            ("finished", "pause"),
            ("failed", "resume"),
            ("finished", "cancel"),
            ("cancelled", "cancel"),
        ],
    )
    async def test_a_move_that_cannot_be_is_refused_and_changes_nothing(
        self, http: httpx.AsyncClient, tenant: Tenant, state: str, word: str
    ) -> None:
        task = await asked(http, f"{ONE_APP}/redeliver")
        await stands(tenant, task, state)

        said = await http.post(f"{TASKS}/{task['id']}/{word}")

        refused(said, 409, "bad_state")
        assert (await http.get(f"{TASKS}/{task['id']}")).json()["state"] == state
        assert await tenant.audited(f"task.{word}") == []

    async def test_one_that_never_began_waits_for_its_time_again(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        task = await asked(http, f"{ONE_APP}/redeliver")
        above = f"/api/v1/app/{tenant.uid}/task/{task['id']}"

        await http.post(f"{above}/pause")
        said = await http.post(f"{above}/resume")

        assert (said.status_code, said.json()["state"]) == (200, "scheduled")


async def over(http: httpx.AsyncClient, task: dict[str, Any]) -> dict[str, Any]:
    """Wait until a task has ended; give it."""
    shown: dict[str, Any] = {}

    async def is_over() -> bool:
        shown.update((await http.get(f"{TASKS}/{task['id']}")).json())
        return shown["endedAt"] is not None and not shown["open"]

    await eventually(is_over, within_s=20)
    return shown


@pytest.mark.usefixtures("running")
class TestDone:
    async def test_letters_that_match_are_redelivered_and_each_says_what_became_of_it(
        self, http: httpx.AsyncClient, world: World, receiver: Receiver
    ) -> None:
        app_id = await world.app(uid="one")
        good = await world.endpoint(app_id, receiver.url("/good"))
        off = await world.endpoint(app_id, receiver.url("/off"), state="disabled")
        await tasks.letters(world, app_id, good, 30)
        await tasks.letters(world, app_id, off, 5)

        task = await over(http, await asked(http, f"{ONE_APP}/redeliver"))

        items = (await http.get(f"{TASKS}/{task['id']}/item?limit=100")).json()["data"]
        assert (task["state"], task["percent"], task["etaSeconds"]) == ("finished", 100.0, 0.0)
        assert (task["total"], task["delivered"], task["skipped"]) == (35, 30, 5)
        assert len(receiver.requests) == 30
        assert {item["detail"] for item in items if item["endpointId"] == off} == {
            "the endpoint is disabled"
        }
        assert {item["state"] for item in items if item["endpointId"] == good} == {"delivered"}

    async def test_a_probe_that_fails_ends_the_task_and_says_where(
        self, http: httpx.AsyncClient, world: World, receiver: Receiver
    ) -> None:
        app_id = await world.app(uid="one")
        bad = await world.endpoint(app_id, receiver.url("/bad"))
        receiver.script("/bad", answer(500))
        await tasks.letters(world, app_id, bad, 20)

        made = await asked(http, f"{ONE_APP}/redeliver", probe=2, retry=False)
        task = await over(http, made)

        assert (task["state"], task["failed"]) == ("failed", 2)
        (stopped,) = task["stoppedAt"]
        assert (stopped["endpointId"], stopped["missed"]) == (bad, 2)
        assert len(receiver.requests) == 2

    async def test_a_tenants_purge_by_ids_takes_its_letters_alone(
        self, http: httpx.AsyncClient, world: World
    ) -> None:
        app_id, other = await world.app(uid="one"), await world.app(uid="two")
        mine = await tasks.letters(world, app_id, await world.endpoint(app_id, "http://a/"), 3)
        theirs = await tasks.letters(world, other, await world.endpoint(other, "http://b/"), 3)

        made = await asked(
            http, f"{ONE_APP}/purge", letterIds=mine[:2], reason="GDPR", confirm=True
        )
        task = await over(http, made)

        left = await world.pool.fetch("SELECT id FROM dead_letter WHERE app_id = ANY ($1)",
                                      [app_id, other])  # fmt: skip
        assert (task["state"], task["done"], task["total"]) == ("finished", 2, 2)
        assert {row["id"] for row in left} == {mine[2], *theirs}


@pytest.mark.usefixtures("running")
class TestSvix:
    async def test_the_official_client_recovers_and_follows_the_task(
        self, svix: SvixAsync, world: World, receiver: Receiver
    ) -> None:
        app_id = await world.app(uid="one")
        endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
        await tasks.letters(world, app_id, endpoint_id, 12)
        since = rows.now() - timedelta(hours=1)

        begun = await svix.endpoint.recover("one", endpoint_id, RecoverIn(since=since))

        async def finished() -> bool:
            return (await svix.background_task.get(begun.id)).status is (
                BackgroundTaskStatus.FINISHED
            )

        await eventually(finished, within_s=20)
        found = await svix.background_task.get(begun.id)
        assert (begun.status, begun.task) == (
            BackgroundTaskStatus.RUNNING, BackgroundTaskType.ENDPOINT_RECOVER,
        )  # fmt: skip
        assert (found.data, found.task) == ({"messagesSent": 12}, begun.task)
        assert found.updated_at >= begun.updated_at
        assert len(receiver.requests) == 12

    async def test_replay_missing_sends_what_came_before_the_endpoint(
        self, svix: SvixAsync, world: World, receiver: Receiver
    ) -> None:
        app_id = await world.app(uid="one")
        async with world.pool.acquire() as link:
            at = rows.now() - timedelta(minutes=10)
            made = [await rows.message(link, app_id, at) for _ in range(4)]
        endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
        since = rows.now() - timedelta(hours=1)

        begun = await svix.endpoint.replay_missing("one", endpoint_id, ReplayIn(since=since))

        await receiver.wait_for(4)
        assert begun.task is BackgroundTaskType.ENDPOINT_REPLAY
        assert {request.header("webhook-id") for request in receiver.requests} == set(made)

    async def test_bulk_replay_sends_those_again_that_match_delivered_ones_too(
        self, svix: SvixAsync, world: World, receiver: Receiver
    ) -> None:
        app_id = await world.app(uid="one")
        endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
        at = rows.now() - timedelta(minutes=10)
        async with world.pool.acquire() as link:
            for event_type, status in (("a.b", 200), ("a.b", 200), ("a.b", 500), ("c.d", 200)):
                message_id = await rows.message(link, app_id, at, event_type=event_type)
                state = State.DELIVERED if status == 200 else State.DEAD
                await rows.delivery(
                    link, app_id, message_id, endpoint_id, state, attempts=1, last_status=status,
                    reason=None if status == 200 else "exhausted",
                )  # fmt: skip

        begun = await svix.endpoint.bulk_replay(
            "one",
            endpoint_id,
            BulkReplayIn(
                since=rows.now() - timedelta(hours=1), event_types=["a.b"], status_code_class=200
            ),
        )

        async def finished() -> bool:
            return (await svix.background_task.get(begun.id)).status is (
                BackgroundTaskStatus.FINISHED
            )

        await eventually(finished, within_s=20)
        assert begun.task is BackgroundTaskType.ENDPOINT_BULK_REPLAY
        assert (await svix.background_task.get(begun.id)).data == {"messagesSent": 2}
        assert len(receiver.requests) == 2


class TestBackgroundTasks:
    async def test_the_list_has_svixs_kinds_alone_filtered_by_theirs(
        self, svix: SvixAsync, http: httpx.AsyncClient
    ) -> None:
        app = await svix.application.create(ApplicationIn(name="One", uid="one"))
        endpoint = await svix.endpoint.create(app.id, EndpointIn(url="https://a.example.com/"))
        since = rows.now() - timedelta(days=1)
        await asked(http, f"{ONE_APP}/redeliver")
        recover = await svix.endpoint.recover("one", endpoint.id, RecoverIn(since=since))
        replay = await svix.endpoint.replay_missing("one", endpoint.id, ReplayIn(since=since))
        await http.post(f"{TASKS}/{replay.id}/cancel")

        async def listed(**options: Any) -> list[str]:
            found = await svix.background_task.list(BackgroundTaskListOptions(**options))
            return [task.id for task in found.data]

        assert await listed() == [replay.id, recover.id]
        assert await listed(limit=1, iterator=replay.id) == [recover.id]
        assert await listed(status=BackgroundTaskStatus.RUNNING) == [recover.id]
        assert await listed(status=BackgroundTaskStatus.FAILED) == [replay.id]
        assert await listed(task=BackgroundTaskType.ENDPOINT_RECOVER) == [recover.id]
        assert await listed(task=BackgroundTaskType.APPLICATION_STATS) == []
        (ours,) = (await http.get(TASKS, params={"kind": "dead_letter.redeliver"})).json()["data"]
        refused(await http.get(f"/api/v1/background-task/{ours['id']}"), 404, "not_found")

    @pytest.mark.parametrize("days", [14.01, 20])
    async def test_more_than_two_weeks_are_not_recovered_at_once(
        self, svix: SvixAsync, days: float
    ) -> None:
        app = await svix.application.create(ApplicationIn(name="One"))
        endpoint = await svix.endpoint.create(app.id, EndpointIn(url="https://a.example.com/"))
        since = rows.now() - timedelta(days=days)

        with pytest.raises(HTTPValidationError) as refusal:
            await svix.endpoint.recover(app.id, endpoint.id, RecoverIn(since=since))

        assert [fault.loc for fault in refusal.value.detail] == [["body", "since"]]

    @pytest.mark.usefixtures("tenant")
    async def test_faults_of_a_replay_are_said_at_once(self, http: httpx.AsyncClient) -> None:
        said = await http.post(
            "/api/v1/app/one/endpoint/e1/bulk-replay",
            json={"until": "x", "status": 7, "statusCodeClass": 201, "channel": "?", "tag": "?"},
        )

        assert faults(said) == {"since", "until", "status", "statusCodeClass", "channel", "tag"}
