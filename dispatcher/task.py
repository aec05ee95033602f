"""The tasks that this dispatcher does: claimed by leases, each run by itself.

Whoever makes or moves a task rings; a lost ring costs a second.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Final

import nats.errors

from dispatcher.parts import Parts
from dispatcher.reach import when_reachable
from dispatcher.task_count import Count
from dispatcher.task_run import LEASE_S, Run
from schema.event import WAKE_ROOT
from schema.ids import shard_of
from schema.store import task_step as store
from schema.store.pool import reachable
from schema.store.task_step import Lease
from schema.task import COUNTING

TASKS_RUNG: Final = f"{WAKE_ROOT}.tasks"
LOOK_S: Final = 1.0
MOST: Final = 8  # at a time
_log = logging.getLogger(__name__)


class Tasks:
    """Claims tasks and has them run."""

    def __init__(self, given: Parts) -> None:
        """Hold none yet."""
        self._given = given
        self._runs: dict[str, Run | Count] = {}
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look now for tasks that were made or moved."""
        self._woken.set()
        for run in self._runs.values():
            run.nudge()

    async def run(self) -> None:
        """Do tasks, for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                await when_reachable(lambda: self._claim(group))
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._woken.wait()
                self._woken.clear()

    async def leave(self) -> None:
        """Give back what is held, once `run` was cancelled: others need not wait for the leases."""
        async with reachable(), self._given.pool.acquire() as link:
            await store.release_all(link, self._given.config.name)

    async def _claim(self, group: asyncio.TaskGroup) -> None:
        room = MOST - len(self._runs)
        if room <= 0:
            return
        async with self._given.pool.acquire() as link:
            leases = await store.claim(
                link,
                self._given.config.name,
                most=room,
                lease_s=LEASE_S,
                now=self._given.clock(),
                held=self._runs,
            )
        for lease in leases:
            self._runs[lease.task.id] = self._made(lease)
            group.create_task(self._do(lease.task.id), name=f"task-{lease.task.id}")

    def _made(self, lease: Lease) -> Run | Count:
        if lease.task.kind in COUNTING:
            return Count(self._given, lease)
        return Run(self._given, lease, ring=self._ring)

    async def _do(self, task_id: str) -> None:
        try:
            await self._runs[task_id].run()
        except Exception:  # noqa: BLE001 - one task's fault ends no other
            # Another dispatcher, or this one, tries again when the lease is over.
            _log.exception("task %s: it is tried again", task_id)
            await asyncio.sleep(LEASE_S)
        finally:
            del self._runs[task_id]
            self._given.metrics.tasks.set(len(self._runs))

    async def _ring(self, app_id: str) -> None:
        """Tell the owner of an app's shard that there is work."""
        with suppress(nats.errors.Error, OSError):  # it looks by itself within a second
            await self._given.bus.publish(f"{WAKE_ROOT}.{shard_of(app_id, self._given.shards)}")
