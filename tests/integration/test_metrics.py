"""What a scrape of a gateway says, with a real stream and a real Postgres behind it."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client
from svix.api import ApplicationIn, MessageIn
from svix.exceptions import HttpError

from gateway.figures import Reader
from schema import event, ids
from schema.delivery import State
from schema.store.link import Pool
from tests import rows
from tests.clients import plain_client
from tests.gateway_server import Gateway, serve

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest_asyncio.fixture
async def gateway(pool: Pool, bus: Client, stream: str) -> AsyncIterator[Gateway]:
    assert stream == event.STREAM
    async with serve(pool, bus) as running:
        yield running


async def scrape(gateway: Gateway) -> tuple[httpx.Response, dict[str, float]]:
    async with plain_client(base_url=gateway.url) as anybody:
        answer = await anybody.get("/metrics")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return answer, {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def test_a_scrape_tells_what_was_accepted_and_refused_and_what_is_owed(
    gateway: Gateway, pool: Pool
) -> None:
    svix = gateway.svix()
    app = await svix.application.create(ApplicationIn(name="One"))
    message = MessageIn(event_type="a", payload={}, event_id="e-1")
    await svix.message.create(app.id, message)
    with pytest.raises(HttpError):
        await svix.message.create(app.id, message)
    async with pool.acquire() as link:
        stored = await rows.message(link, app.id)
        endpoint = ids.new_id(ids.ENDPOINT, rows.now())
        await rows.delivery(link, app.id, stored, endpoint)
        await rows.letter(link, app.id, stored, endpoint)

    answer, values = await scrape(gateway)

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert values['hookline_accepted_total{door="http"}'] == 1
    assert values['hookline_refused_total{code="conflict"}'] == 1
    assert values["hookline_accept_seconds_count"] == 1
    assert values["hookline_publish_batch_size_sum"] == 1
    assert values["hookline_stream_lag"] == 1
    assert values["hookline_stream_events"] == 1
    assert values["hookline_deliveries_owed"] == 1
    assert values["hookline_dead_letters_parked"] == 1
    assert values['hookline_reachable{part="postgres"}'] == 1
    assert values['hookline_reachable{part="nats"}'] == 1


async def test_a_scrape_counts_the_endpoints_of_tenants_by_how_they_fare(
    gateway: Gateway, pool: Pool
) -> None:
    svix = gateway.svix()
    app = await svix.application.create(ApplicationIn(name="One"))
    async with pool.acquire() as link:
        for state in ("active", "active", "paused", "disabled"):
            await rows.endpoint(link, app.id, state=state)
        await rows.endpoint(link, app.id, deleted_at=rows.now())

    _, values = await scrape(gateway)

    counted = {
        name: value for name, value in values.items() if name.startswith("hookline_endpoints{")
    }
    assert counted == {
        'hookline_endpoints{state="healthy"}': 2,
        'hookline_endpoints{state="degraded"}': 0,
        'hookline_endpoints{state="failing"}': 0,
        'hookline_endpoints{state="paused"}': 1,
        'hookline_endpoints{state="disabled"}': 1,
    }


async def test_the_lag_is_what_lies_behind_each_shards_position(
    gateway: Gateway, pool: Pool
) -> None:
    svix, parts = gateway.svix(), gateway.app.state.parts
    reader = Reader()

    async def lag() -> float:
        reader._until_s = 0.0
        figures = await reader.read(parts)
        return next(f.value for f in figures.values if f.name == "hookline_stream_lag")

    before = await lag()
    apps = [await svix.application.create(ApplicationIn(name="x")) for _ in range(5)]
    for app in apps:
        for _ in range(4):
            await svix.message.create(app.id, MessageIn(event_type="a", payload={}))
    published = await lag()
    await pool.execute("UPDATE shard SET position = 10")
    half = await lag()
    await pool.execute("UPDATE shard SET position = 20")

    assert (before, published, half, await lag()) == (0, 20, 10, 0)


async def test_the_oldest_due_is_of_an_endpoint_that_may_be_sent_to(
    gateway: Gateway, pool: Pool
) -> None:
    svix = gateway.svix()
    app = await svix.application.create(ApplicationIn(name="One"))
    active, paused = [ids.new_id(ids.ENDPOINT, rows.now()) for _ in range(2)]
    async with pool.acquire() as link:
        for endpoint, state in ((active, "active"), (paused, "paused")):
            await rows.endpoint(link, app.id, id=endpoint, state=state)
        for endpoint, hours in ((active, 1), (paused, 9)):
            message = await rows.message(link, app.id)
            due_at = rows.now() - timedelta(hours=hours)
            await rows.delivery(link, app.id, message, endpoint, due_at=due_at)
            waiting = await rows.message(link, app.id)
            later = rows.now() + timedelta(hours=1)
            await rows.delivery(
                link, app.id, waiting, endpoint, State.RETRYING, due_at=later, attempts=1
            )

    _, values = await scrape(gateway)

    assert values["hookline_deliveries_owed"] == 4
    assert 3_600 <= values["hookline_oldest_due_seconds"] < 3_700


async def test_every_name_of_a_scrape_stands_in_the_docs(gateway: Gateway) -> None:
    answer, _ = await scrape(gateway)

    named = set(re.findall(r"^# TYPE (\w+) ", answer.text, re.MULTILINE))
    documented = set(re.findall(r"^\| `(\w+)`", DOCS.read_text(), re.MULTILINE))
    assert {name for name in named if not name.endswith("_created")} <= documented
