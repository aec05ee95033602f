"""A settlement whose answer got lost is written again, and changes nothing."""

import pytest

from schema.delivery import State
from schema.store.link import Pool
from tests.settling import owned_world, settle, settlement


async def facts(pool: Pool) -> list[tuple[object, ...]]:
    """Give all that settling writes."""
    statements = (
        "SELECT state, attempts, failures, due_at, delivered_at FROM delivery",
        "SELECT id, number, verdict FROM attempt",
        "SELECT delivered, status_5xx, parked, duration_ms FROM rollup_minute",
        "SELECT id, state, attempts FROM dead_letter",
        "SELECT delivered, failed FROM type_tally",
    )
    async with pool.acquire() as link:
        return [tuple(row) for sql in statements for row in await link.fetch(sql)]


@pytest.mark.parametrize("state", [State.DELIVERED, State.RETRYING, State.DEAD])
async def test_what_is_settled_twice_is_settled_once(pool: Pool, state: State) -> None:
    world = await owned_world(pool)
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, "http://127.0.0.1:9/")
    (message_id,) = await world.owe(app_id, endpoint_id)
    settled = settlement(app_id, endpoint_id, message_id, state)
    await settle(pool, settled)
    once = await facts(pool)

    await settle(pool, settled)

    assert await facts(pool) == once
    assert once[0][0] == state
