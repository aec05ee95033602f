"""A task whose dispatcher dies between any two statements sends nothing twice, and all of it."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dispatcher.task_run import LEASE_S, Run
from schema.store import task_step as store
from schema.store.link import Pool
from schema.task import ItemState, TaskState
from tests.dispatching import Running, World, dispatching, new_world, now
from tests.receiver import Receiver
from tests.services import Services
from tests.tasks import ended, items, letters, start, states

pytestmark = pytest.mark.usefixtures("stream")
LETTERS = 100
MOST = 40  # statements; a pass that sends has about thirty


class Died(BaseException):
    """The process is gone: nobody catches that."""


class Mortal:
    """A pool that dies before the statement that is one too many; what was open is rolled back."""

    def __init__(self, pool: Pool, statements: int) -> None:
        self._pool = pool
        self.left = statements

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["_Mortal"]:
        async with self._pool.acquire() as link:
            yield _Mortal(self, link)


class _Mortal:
    def __init__(self, owner: Mortal, link: Any) -> None:
        self._owner, self._link = owner, link

    def transaction(self) -> Any:
        return self._link.transaction()

    def __getattr__(self, name: str) -> Any:
        async def run(*given: Any, **named: Any) -> Any:
            self._owner.left -= 1
            if self._owner.left < 0:
                raise Died
            return await getattr(self._link, name)(*given, **named)

        return run


async def live(world: World, running: Running, statements: int) -> bool:
    """Do the one task for so many statements, as the same dispatcher again and again."""
    given = running.dispatcher._given
    mortal: Any = Mortal(world.pool, statements)
    async with world.pool.acquire() as link:
        leases = await store.claim(
            link, "mortal", most=1, lease_s=LEASE_S, now=now() + timedelta(hours=2), held=()
        )
    try:
        for lease in leases:
            run = Run(replace(given, pool=mortal), lease, ring=running.dispatcher._tasks._ring)
            await run.run()
    except Died:
        return True
    return False


async def test_it_may_die_before_any_statement(pool: Pool, services: Services) -> None:
    world = await new_world(pool)
    async with Receiver() as receiver, dispatching(pool, services.nats_url) as running:
        app_id = await world.app()
        endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
        await letters(world, app_id, endpoint_id, LETTERS)
        task = await start(world, concurrency=3)
        # Later than the dispatcher's own tasks look: this one is done here.
        await pool.execute("UPDATE task SET start_at = now() + interval '1 hour'")

        lives = 0
        while await live(world, running, lives % MOST):
            lives += 1
        over = await ended(world, task)

    assert lives >= MOST
    assert (over.state, over.items, over.delivered) == (TaskState.FINISHED, LETTERS, LETTERS)
    assert {item.state for item in await items(world, task)} == {ItemState.DELIVERED}
    assert await states(world) == {"redelivered": LETTERS}
    came = Counter(request.header("webhook-id") for request in receiver.requests)
    assert set(came.values()) == {1}
    assert len(came) == LETTERS
