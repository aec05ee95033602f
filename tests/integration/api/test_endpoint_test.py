"""Tests of endpoints: one message, one attempt, and an answer that tells what came of it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from svix.api import (
    ApplicationIn,
    EndpointIn,
    EndpointPatch,
    EventTypeIn,
    SvixAsync,
)
from svix.webhooks import Webhook

from gateway.awaited import LOOK_S
from gateway.config import GatewayConfig
from schema.store.link import Pool
from tests.dispatching import World, dispatching, eventually
from tests.gateway_server import CONFIG, Gateway
from tests.receiver import Behaviour, Receiver, answer, delayed, hang, sequence
from tests.services import Services

pytestmark = pytest.mark.asyncio(loop_scope="module")
lent_to_a_test = pytest_asyncio.fixture(loop_scope="module")
TEST: Final = {"eventType": "a.b", "payload": {"n": 1}}


@pytest.fixture(scope="module")
def config() -> GatewayConfig:
    return replace(CONFIG, app_tests=2, tests=3, test_wait_s=5.0)


async def endpoint_at(svix: SvixAsync, app_id: str, url: str, **other: Any) -> str:
    return (await svix.endpoint.create(app_id, EndpointIn(url=url, **other))).id


async def tried(
    http: httpx.AsyncClient,
    app_id: str,
    endpoint_id: str,
    *,
    headers: Mapping[str, str] | None = None,
    **changes: Any,
) -> httpx.Response:
    return await http.post(
        f"/api/v1/app/{app_id}/endpoint/{endpoint_id}/msg/test-attempt",
        json=TEST | changes,
        headers=headers,
        timeout=20,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """An app, a receiver for its endpoints, and who asks."""

    svix: SvixAsync
    http: httpx.AsyncClient
    app_id: str
    receiver: Receiver
    pool: Pool

    async def endpoint(self, **other: Any) -> str:
        return await endpoint_at(self.svix, self.app_id, self.receiver.url("/"), **other)

    async def tried(self, endpoint_id: str, **changes: Any) -> httpx.Response:
        return await tried(self.http, self.app_id, endpoint_id, **changes)

    async def delivery(self, message_id: str) -> tuple[Any, ...]:
        return await delivery(self.pool, message_id)


@lent_to_a_test
async def stage(
    svix: SvixAsync, http: httpx.AsyncClient, receiver: Receiver, shared: Gateway
) -> Stage:
    app = await svix.application.create(ApplicationIn(name="One"))
    return Stage(svix=svix, http=http, app_id=app.id, receiver=receiver, pool=shared.pool)


async def delivery(pool: Pool, message_id: str) -> tuple[Any, ...]:
    rows = await pool.fetch(
        "SELECT state, reason, attempts FROM delivery WHERE message_id = $1", message_id
    )
    assert len(rows) == 1
    return tuple(rows[0])


@pytest.mark.usefixtures("running")
class TestAttempts:
    async def test_the_answer_is_the_attempt_of_a_message_that_the_filters_exclude(
        self, stage: Stage
    ) -> None:
        stage.receiver.script("/", answer(201, body=b"thanks"))
        await stage.svix.event_type.create(EventTypeIn(name="other", description=""))
        url = stage.receiver.url("/")
        filters = {"event_types": ["other"], "channels": ["c"]}
        endpoint_id = await endpoint_at(stage.svix, stage.app_id, url, **filters)
        await endpoint_at(stage.svix, stage.app_id, url)  # gets nothing
        secret = (await stage.svix.endpoint.get_secret(stage.app_id, endpoint_id)).key
        began = asyncio.get_running_loop().time()

        said = await stage.tried(endpoint_id, channels=["d"], tags=["t"])

        took_s = asyncio.get_running_loop().time() - began
        attempt = said.json()
        assert said.status_code == 201, said.text
        assert (attempt["responseStatusCode"], attempt["response"]) == (201, "thanks")
        assert (attempt["status"], attempt["triggerType"]) == (0, 1)
        assert (attempt["endpointId"], attempt["number"], attempt["url"]) == (endpoint_id, 1, url)
        assert took_s < LOOK_S, "the word of the dispatcher was heard"
        (request,) = stage.receiver.requests
        assert request.header("webhook-id") == attempt["msgId"]
        Webhook(secret).verify(request.body, dict(request.headers))
        assert request.body == b'{"n":1}'
        shown = await stage.svix.message.get(stage.app_id, attempt["msgId"])
        assert (shown.channels, shown.tags) == (["d"], ["t"])
        listed = await stage.svix.message_attempt.list_by_msg(stage.app_id, attempt["msgId"])
        assert [one.id for one in listed.data] == [attempt["id"]]
        assert await stage.delivery(attempt["msgId"]) == ("delivered", None, 1)

    @pytest.mark.parametrize(
        ("behaviour", "status", "fault", "state"),
        [
            (answer(500), 500, None, "active"),
            (answer(302), 302, None, "active"),
            (answer(503, {"Retry-After": "1"}), 503, None, "active"),
            (answer(400, {"webhook-delivery": "abort-message"}), 400, None, "active"),
            (answer(410), 410, None, "disabled"),
            (answer(500, {"webhook-delivery": "disable"}), 500, None, "disabled"),
        ],
    )
    async def test_one_that_fails_is_neither_tried_again_nor_parked(
        self, stage: Stage, behaviour: Behaviour, status: int, fault: str | None, state: str
    ) -> None:
        stage.receiver.script("/", behaviour)
        endpoint_id = await stage.endpoint()

        said = await stage.tried(endpoint_id)

        attempt = said.json()
        assert said.status_code == 201, said.text
        assert (attempt["status"], attempt["verdict"]) == (2, "failed")
        assert (attempt["responseStatusCode"], attempt["fault"]) == (status, fault)
        assert attempt["nextAttempt"] is None
        assert await stage.delivery(attempt["msgId"]) == ("cancelled", "test_failed", 1)
        letters = await stage.pool.fetchval(
            "SELECT count(*) FROM dead_letter WHERE app_id = $1", stage.app_id
        )
        assert letters == 0
        path = f"/api/v1/app/{stage.app_id}/endpoint/{endpoint_id}"
        assert (await stage.http.get(path)).json()["state"] == state

    async def test_one_that_failed_and_is_resent_is_a_message_like_any_other(
        self, stage: Stage
    ) -> None:
        stage.receiver.script("/", sequence(answer(500), answer(500), answer(200)))
        endpoint_id = await stage.endpoint()
        message_id = (await stage.tried(endpoint_id)).json()["msgId"]

        await stage.svix.message_attempt.resend(stage.app_id, message_id, endpoint_id)

        async def delivered() -> bool:
            return await stage.delivery(message_id) == ("delivered", None, 3)

        await eventually(delivered)

    async def test_it_goes_ahead_of_what_the_endpoint_is_owed(
        self, stage: Stage, world: World
    ) -> None:
        stage.receiver.script("/", delayed(0.02, answer(200)))
        endpoint_id = await stage.endpoint(throttle_rate=20)
        backlog = await world.owe(stage.app_id, endpoint_id, 300)
        await world.wake(stage.app_id, endpoint_id)
        await stage.receiver.wait_for(20)

        attempt = (await stage.tried(endpoint_id)).json()

        came = [request.header("webhook-id") for request in stage.receiver.requests]
        assert came.index(attempt["msgId"]) < 100 < len(backlog)

    async def test_an_ordered_endpoint_whose_first_waits_for_a_retry_is_tried_all_the_same(
        self, stage: Stage
    ) -> None:
        stage.receiver.script("/", sequence(answer(500), answer(200)))
        endpoint_id = await stage.endpoint()
        path = f"/api/v1/app/{stage.app_id}/endpoint/{endpoint_id}"
        ordered = {"ordered": True, "retryPolicy": [3600]}
        assert (await stage.http.patch(path, json=ordered)).status_code == 200
        assert (
            await stage.http.post(f"/api/v1/app/{stage.app_id}/msg", json=TEST)
        ).status_code == 202
        await stage.receiver.wait_for(1)

        attempt = (await stage.tried(endpoint_id)).json()

        assert attempt["responseStatusCode"] == 200

    async def test_a_repeated_request_gets_the_first_ones_attempt(self, stage: Stage) -> None:
        stage.receiver.script("/", delayed(0.3, answer(200)))
        endpoint_id = await stage.endpoint()
        key = {"idempotency-key": "k"}

        both = await asyncio.gather(*(stage.tried(endpoint_id, headers=key) for _ in range(2)))
        later = await stage.tried(endpoint_id, headers=key)
        another = await stage.tried(endpoint_id, headers={"idempotency-key": "l"})

        assert len({said.json()["id"] for said in (*both, later)}) == 1
        assert another.json()["id"] != later.json()["id"]
        assert len(stage.receiver.requests) == 2

    async def test_no_more_wait_than_may(self, stage: Stage) -> None:
        let_go = asyncio.Event()
        stage.receiver.script("/", _until(let_go))
        ours = await stage.endpoint()
        others = (await stage.svix.application.create(ApplicationIn(name="Two"))).id
        theirs = await endpoint_at(stage.svix, others, stage.receiver.url("/"))
        waiting = [asyncio.create_task(stage.tried(ours)) for _ in range(2)]
        await stage.receiver.wait_for(2)

        one_more = await stage.tried(ours)
        waiting.append(asyncio.create_task(tried(stage.http, others, theirs)))
        await stage.receiver.wait_for(3)
        of_process = await tried(stage.http, others, theirs)
        let_go.set()
        done = await asyncio.gather(*waiting)
        after = await stage.tried(ours)

        for said, setting in ((one_more, "HOOKLINE_APP_TESTS"), (of_process, "HOOKLINE_TESTS")):
            assert (said.status_code, said.json()["code"]) == (429, "too_many_tests")
            assert setting in said.json()["detail"]
            assert said.headers["retry-after"] == "1"
        assert [said.status_code for said in (*done, after)] == [201] * 4
        shown = (await stage.http.get("/metrics")).text
        assert 'hookline_refused_total{code="too_many_tests"}' in shown

    async def test_what_cannot_be_tried_is_refused_and_makes_no_message(self, stage: Stage) -> None:
        url = stage.receiver.url("/")
        off, paused = [await endpoint_at(stage.svix, stage.app_id, url) for _ in range(2)]
        await stage.svix.endpoint.patch(stage.app_id, off, EndpointPatch(disabled=True))
        await stage.http.patch(
            f"/api/v1/app/{stage.app_id}/endpoint/{paused}", json={"paused": True}
        )
        others = (await stage.svix.application.create(ApplicationIn(name="Two"))).id
        live = await endpoint_at(stage.svix, others, url)

        said = [
            await stage.tried(off),
            await stage.tried(paused),
            await stage.tried(live),
            await tried(stage.http, "nobody", live),
            await tried(stage.http, others, live, payload=1),
            await tried(stage.http, others, live, deliverAt="2999-01-01T00:00:00Z"),
        ]

        assert [(one.status_code, one.json().get("code")) for one in said] == [
            (400, "endpoint_disabled"),
            (400, "endpoint_paused"),
            (404, "not_found"),
            (404, "not_found"),
            (422, None),
            (422, None),
        ]
        assert (await stage.svix.message.list(stage.app_id)).data == []
        assert stage.receiver.requests == []


def _until(event: asyncio.Event) -> Behaviour:
    async def wait(request: Any, writer: Any) -> None:
        await event.wait()
        await answer(200)(request, writer)

    return wait


class TestDispatchers:
    async def test_what_no_dispatcher_takes_is_told_with_its_id_and_tried_once_when_one_comes(
        self, stage: Stage, services: Services
    ) -> None:
        stage.receiver.script("/", answer(500))
        endpoint_id = await stage.endpoint()
        key = {"idempotency-key": "k"}

        late = await stage.tried(endpoint_id, headers=key)
        async with dispatching(stage.pool, services.nats_url):
            again = await stage.tried(endpoint_id, headers=key)

        attempt = again.json()
        assert (late.status_code, late.json()["code"]) == (503, "attempt_under_way")
        assert attempt["msgId"] in late.json()["detail"]
        assert (again.status_code, attempt["responseStatusCode"]) == (201, 500)
        assert await stage.delivery(attempt["msgId"]) == ("cancelled", "test_failed", 1)
        assert len(stage.receiver.requests) == 1

    async def test_one_whose_dispatcher_dies_is_tried_by_the_next_and_still_the_last_time(
        self, stage: Stage, services: Services
    ) -> None:
        stage.receiver.script("/", sequence(hang(), answer(500)))
        endpoint_id = await stage.endpoint()
        async with dispatching(stage.pool, services.nats_url) as first:
            waiting = asyncio.create_task(stage.tried(endpoint_id))
            await stage.receiver.wait_for(1)
            await first.die()

        async with dispatching(stage.pool, services.nats_url):
            said = await waiting

        attempt = said.json()
        assert (said.status_code, attempt["responseStatusCode"]) == (201, 500)
        assert await stage.delivery(attempt["msgId"]) == ("cancelled", "test_failed", 1)

    async def test_one_whose_endpoint_is_disabled_before_its_attempt_is_called_off(
        self, stage: Stage, services: Services
    ) -> None:
        endpoint_id = await stage.endpoint()
        waiting = asyncio.create_task(stage.tried(endpoint_id, eventId="soon"))
        path = f"/api/v1/app/{stage.app_id}/msg/soon"

        async def published() -> bool:
            return (await stage.http.get(path)).status_code == 200

        await eventually(published)
        await stage.svix.endpoint.patch(stage.app_id, endpoint_id, EndpointPatch(disabled=True))
        async with dispatching(stage.pool, services.nats_url):
            said = await waiting

        assert (said.status_code, said.json()["code"]) == (409, "endpoint_disabled")
        rows = await stage.pool.fetch(
            "SELECT state, reason FROM delivery WHERE endpoint_id = $1", endpoint_id
        )
        assert [tuple(row) for row in rows] == [("cancelled", "endpoint_disabled")]
        assert stage.receiver.requests == []
