"""What Postgres forgot as it crashed, and was told again, is owed like anything else."""

import pytest

from schema.store.link import Pool
from tests.dispatching import World, dispatching, publish, taken
from tests.receiver import Received, Receiver, Writer
from tests.services import Services

pytestmark = pytest.mark.usefixtures("stream")

# The row is gone when a settlement looks for it, and is back before its answer is known: as if the
# intake had stored the event again in between.
FORGET = """
CREATE TABLE forgotten AS SELECT * FROM delivery;
DELETE FROM delivery;
CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO delivery SELECT * FROM forgotten;
    DELETE FROM forgotten;
    RETURN NULL;
END $$;
CREATE TRIGGER remember AFTER INSERT ON attempt EXECUTE FUNCTION remember()
"""


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_row_that_is_back_when_its_settlement_is_refused_is_sent_again(
    world: World, pool: Pool, services: Services, receiver: Receiver, *, ordered: bool
) -> None:
    app_id = await world.app()
    await world.endpoint(app_id, receiver.url("/hook"), ordered=ordered)

    async def crash_once(request: Received, writer: Writer) -> None:
        if request is receiver.requests[0]:
            await pool.execute(FORGET)
        await writer.answer()

    receiver.script("/hook", crash_once)

    async with dispatching(pool, services.nats_url) as running:
        await publish(running.bus, app_id)
        first, second = await receiver.wait_for(2)
        states = await world.settled(1)
        refused = running.dispatcher._given.metrics.refused._value.get()

    assert (states, refused) == ({"delivered": 1}, 1)
    assert first.header("webhook-id") == second.header("webhook-id")


async def test_what_was_forgotten_of_a_shard_that_nothing_more_comes_for_is_read_again(
    world: World, pool: Pool, services: Services, receiver: Receiver
) -> None:
    app_id = await world.app()
    await world.endpoint(app_id, receiver.url("/hook"))

    async with dispatching(pool, services.nats_url) as running:
        await publish(running.bus, app_id)
        await receiver.wait_for(1)
        await world.settled(1)
        await publish(running.bus, app_id)
        await receiver.wait_for(2)
        await world.settled(2)
        await pool.execute(
            """WITH last AS (DELETE FROM delivery AS d USING message AS m
                             WHERE d.message_id = m.id AND m.id = (SELECT max(id) FROM message)
                             RETURNING m.id),
                    gone AS (DELETE FROM message WHERE id IN (SELECT id FROM last))
               UPDATE shard SET position = position - 1 WHERE position > 0"""
        )
        await taken(world, 2)
        await receiver.wait_for(3)
        states = await world.settled(2)

    ids = [request.header("webhook-id") for request in receiver.requests]
    assert states == {"delivered": 2}
    assert ids[1] == ids[2] != ids[0]
