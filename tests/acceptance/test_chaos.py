"""Whatever is killed, and however often, all that was accepted arrives.

`scripts/chaos` has it go on for longer.
"""

import asyncio
import os
import random
import secrets

import pytest

from tests.acceptance.nothing_missing import nothing_is_missing, what_was_accepted_was_counted
from tests.acceptance.world import Load, World

CHAOS_S = float(os.environ.get("CHAOS_S", "4"))
SEED = os.environ.get("CHAOS_SEED") or secrets.token_hex(4)
PARTS = ("postgres", "nats", "dispatcher-1", "dispatcher-2", "gateway-1", "gateway-2")
AWAY_S = 0.5  # how long a part is away at most
QUIET_S = 1.5  # how long at most none is
ENDS_S = 60.0


@pytest.mark.timeout(CHAOS_S + ENDS_S)
async def test_nothing_is_missing_when_one_part_after_the_other_is_killed_under_load(
    breakable_world: World,
) -> None:
    world, dice, loop = breakable_world, random.Random(SEED), asyncio.get_running_loop()
    print(f"CHAOS_SEED={SEED}")
    app = await world.app()
    endpoints = [await world.endpoint(app, path) for path in ("/first", "/second")]
    load, kills, until_s = Load(world, app), 0, loop.time() + CHAOS_S

    async with load.running(by_http=4, by_nats=2):
        while loop.time() < until_s or kills < 2:
            await load.more(20)
            await asyncio.sleep(dice.uniform(0, QUIET_S))
            part = dice.choice(PARTS)
            await world.here.kill(part)
            await asyncio.sleep(dice.uniform(0, AWAY_S))
            await world.here.start(part)
            kills += 1
        await load.more(20)

    print(f"{kills} kills, {len(load.accepted)} accepted")
    await nothing_is_missing(world, app, endpoints, load)
    await what_was_accepted_was_counted(world, app)
