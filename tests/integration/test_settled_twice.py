"""A settlement whose answer got lost is written again, and changes nothing."""

from datetime import UTC, datetime, timedelta

import pytest

from schema import ids
from schema.delivery import Outcome, Reason, State, Trigger
from schema.store import settle
from schema.store.link import Pool
from schema.store.settle import AttemptRow, Settlement

OWNER = "dispatcher-1"
SHARD = 0
EPOCHS = {SHARD: 1}
NOW = datetime.now(UTC)
APP, ENDPOINT = ids.new_id(ids.APP, NOW), ids.new_id(ids.ENDPOINT, NOW)
MESSAGE, ATTEMPT = ids.new_id(ids.MESSAGE, NOW), ids.new_id(ids.ATTEMPT, NOW)


def settlement(state: State) -> Settlement:
    status, verdict = {
        State.DELIVERED: (200, "delivered"),
        State.RETRYING: (500, "retry"),
        State.DEAD: (500, "park"),
    }[state]
    return Settlement(
        app_id=APP,
        message_id=MESSAGE,
        endpoint_id=ENDPOINT,
        state=state,
        attempts=1,
        failures=int(state is not State.DELIVERED),
        run=0,
        due_at=NOW + timedelta(seconds=5) if state is State.RETRYING else None,
        reason=Reason.EXHAUSTED if state is State.DEAD else None,
        attempt=AttemptRow(
            id=ATTEMPT,
            event_type="invoice.paid",
            trigger=Trigger.SCHEDULED,
            verdict=verdict,
            url="https://example.com/",
            started_at=NOW,
            outcome=Outcome(status=status, duration_ms=7),
        ),
    )


async def facts(pool: Pool) -> list[tuple[object, ...]]:
    """Give all that settling writes."""
    statements = (
        "SELECT state, attempts, failures, due_at, delivered_at FROM delivery",
        "SELECT id, number, verdict FROM attempt",
        "SELECT delivered, status_5xx, parked, duration_ms FROM rollup_minute",
        "SELECT id, state, attempts FROM dead_letter",
    )
    async with pool.acquire() as link:
        return [tuple(row) for sql in statements for row in await link.fetch(sql)]


@pytest.mark.parametrize("state", [State.DELIVERED, State.RETRYING, State.DEAD])
async def test_what_is_settled_twice_is_settled_once(pool: Pool, state: State) -> None:
    async with pool.acquire() as link:
        await link.execute("UPDATE shard SET owner = $1, epoch = 1 WHERE id = $2", OWNER, SHARD)
        await link.execute(
            "INSERT INTO message (app_id, id, event_type, payload, content_type, created_at)"
            " VALUES ($1, $2, 'invoice.paid', '{}', 'application/json', $3)",
            *(APP, MESSAGE, NOW),
        )
        await link.execute(
            "INSERT INTO delivery (app_id, message_id, endpoint_id, shard, due_at, created_at)"
            " VALUES ($1, $2, $3, $4, $5, $5)",
            *(APP, MESSAGE, ENDPOINT, SHARD, NOW),
        )

    async def write() -> None:
        letter = ids.new_id(ids.DEAD_LETTER, NOW)
        batch = [settlement(state)]
        async with pool.acquire() as link:
            await settle.settle(link, OWNER, EPOCHS, batch, now=NOW, letter_ids=[letter])

    await write()
    once = await facts(pool)
    await write()

    assert await facts(pool) == once
    assert once[0][0] == state
