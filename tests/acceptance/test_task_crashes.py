"""A redelivery outlives the dispatcher that does it: each letter arrives, hardly any twice.

`scripts/chaos` does the same with 10,000 letters.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from svix.api import EndpointPatch

from schema.store.link import Pool
from schema.store.pool import open_pool
from tests.acceptance.world import World, until
from tests.dispatching import World as Tables
from tests.tasks import letters

LETTERS = int(os.environ.get("CHAOS_LETTERS", "1500"))
SETTLED_S = 1.0  # what was sent before that is settled: a crash does not repeat it
WITHIN_S = 20.0 + LETTERS / 100


@pytest_asyncio.fixture
async def tables(breakable_world: World) -> AsyncIterator[Pool]:
    async with await open_pool(breakable_world.here.database_url, size=2) as pool:
        yield pool


async def parked(world: World, tables: Pool, number: int, **endpoint: Any) -> tuple[str, str]:
    """Make an app and an endpoint with so many dead letters; give their ids."""
    app = await world.app()
    made = await world.endpoint(app, "/hook", **endpoint)
    environment_id = await tables.fetchval("SELECT environment_id FROM app WHERE id = $1", app.id)
    await letters(Tables(pool=tables, environment_id=environment_id), app.id, made.id, number)
    return app.id, made.id


async def redeliver(world: World, app_id: str, **plan: object) -> str:
    """Ask for the redelivery of an app's letters; give the path of the task."""
    answered = await world.http.post(f"/api/v1/app/{app_id}/dead-letter/redeliver", json=plan)
    assert answered.status_code == 202, answered.text
    return f"/api/v1/app/{app_id}/task/{answered.json()['id']}"


async def ended(world: World, task: str, *, within_s: float = WITHIN_S) -> dict[str, Any]:
    """Wait until a task has ended, and all that it sent; give it."""

    async def look() -> dict[str, Any] | None:
        shown: dict[str, Any] = (await world.http.get(task)).json()
        return shown if shown["endedAt"] and not shown["open"] else None

    return await until(look, within_s=within_s, every_s=0.1)


async def states(tables: Pool, app_id: str) -> dict[str, int]:
    rows = await tables.fetch(
        "SELECT state, count(*) FROM dead_letter WHERE app_id = $1 GROUP BY state", app_id
    )
    return {row["state"]: row["count"] for row in rows}


async def test_a_dispatcher_killed_amid_a_redelivery_goes_on_and_repeats_what_was_in_flight_alone(
    breakable_world: World, tables: Pool
) -> None:
    world = breakable_world
    await world.here.stop("dispatcher-2")
    app_id, _ = await parked(world, tables, LETTERS)
    task = await redeliver(world, app_id)
    await world.receiver.wait_for(LETTERS // 3, timeout=WITHIN_S)

    killed_at = asyncio.get_running_loop().time()
    await world.here.kill("dispatcher-1")
    in_flight = await tables.fetchval("SELECT open FROM task WHERE app_id = $1", app_id)
    await world.here.start("dispatcher-1")
    over = await ended(world, task)

    assert (over["state"], over["items"], over["delivered"]) == ("finished", LETTERS, LETTERS)
    assert await states(tables, app_id) == {"redelivered": LETTERS}
    came = Counter(one.header("webhook-id") for one in world.receiver.requests)
    assert len(came) == LETTERS
    repeated = {ident for ident, number in came.items() if number > 1}
    assert set(came.values()) <= {1, 2}
    assert len(repeated) <= in_flight
    first_at: dict[str | None, float] = {}
    for one in world.receiver.requests:
        first_at.setdefault(one.header("webhook-id"), one.at)
    assert all(first_at[ident] >= killed_at - SETTLED_S for ident in repeated)


async def test_a_cancelled_redelivery_stops_within_a_second_and_the_rest_stays_parked(
    breakable_world: World, tables: Pool
) -> None:
    world = breakable_world
    app_id, _ = await parked(world, tables, 1_000, throttle_rate=100)
    task = await redeliver(world, app_id)
    await world.receiver.wait_for(50)

    cancelled_at = asyncio.get_running_loop().time()
    assert (await world.http.post(f"{task}/cancel")).status_code in {200, 204}
    over = await ended(world, task)

    assert over["state"] == "cancelled"
    sent = len(world.receiver.requests)
    last_at = max(one.at for one in world.receiver.requests)
    assert last_at - cancelled_at <= 1.0
    assert await states(tables, app_id) == {"redelivered": sent, "parked": 1_000 - sent}


async def test_what_is_not_redelivered_to_an_endpoint_that_is_disabled_meanwhile_is_parked(
    breakable_world: World, tables: Pool
) -> None:
    world = breakable_world
    app_id, endpoint_id = await parked(world, tables, 300, throttle_rate=50)
    task = await redeliver(world, app_id)
    await world.receiver.wait_for(20)

    await world.svix.endpoint.patch(app_id, endpoint_id, EndpointPatch(disabled=True))
    over = await ended(world, task)

    found = (await world.http.get(f"{task}/item?state=skipped")).json()["data"]
    assert {item["detail"] for item in found} == {"the endpoint is disabled"}
    assert over["skipped"] + over["failed"] + over["delivered"] == over["items"] == 300
    assert await states(tables, app_id) == {
        "redelivered": over["delivered"], "parked": 300 - over["delivered"]
    }  # fmt: skip
