"""A task that only counts or lists: a page at a time, its result written at the end.

It sends nothing and keeps no parts: a crash, or another dispatcher, begins it anew.
"""

import asyncio
import logging
from typing import Any, Final

import orjson

from dispatcher import task_export
from dispatcher.parts import Parts
from dispatcher.task_told import tell
from schema.errors import Unavailable
from schema.store import event_type as event_types
from schema.store import statistics
from schema.store import task_step as store
from schema.store.link import Link
from schema.store.pool import reachable
from schema.store.statistics import Page
from schema.store.task_step import Held, Lease
from schema.task import TaskKind, TaskState

LEASE_S: Final = 60.0  # of a page
APPS: Final = 100  # or event types, of a page
MOST_BYTES: Final = 16 * 1024 * 1024  # of a result
_PAUSE_S: Final = 0.5
_FIELDS: Final = {TaskKind.APP_STATS: "appStats", TaskKind.EVENT_TYPES: "event_types"}
_FEWER: Final = {
    TaskKind.APP_STATS: "name fewer apps",
    TaskKind.EVENT_TYPES: "name fewer apps",
    TaskKind.EXPORT_OPENAPI: "archive event types, or list them with their schemas",
}
_log = logging.getLogger(__name__)


class Count:
    """A task that this dispatcher holds, and that only counts."""

    def __init__(self, given: Parts, lease: Lease) -> None:
        """Take the task."""
        self._given = given
        self._lease = lease
        self._task = lease.task

    def nudge(self) -> None:
        """Do nothing: whether it was cancelled is looked at with each page."""

    async def run(self) -> None:
        """Count until the end, or until the task is paused, cancelled or not ours any more."""
        while True:
            try:
                async with reachable():
                    await self._count()
            except Unavailable as error:
                _log.warning("task %s waits: %r", self._task.id, error.__cause__)
                await asyncio.sleep(_PAUSE_S)
            else:
                return

    async def _count(self) -> None:
        async with self._given.pool.acquire() as link:
            held = await self._hold(link)
            if held is None:
                return
            if held.started_at is None:
                at = self._given.clock()
                await store.begin(link, self._task.id, at=at, total=None, exact=False)
            found: list[dict[str, Any]] = []
            size, behind = 0, ""
            while size <= MOST_BYTES:
                page = await self._page(link, behind)
                if await self._hold(link) is None:
                    return
                found += page.shown
                size += len(orjson.dumps(page.shown))
                if page.last is None:
                    await self._end(link, found)
                    return
                behind = page.last
            await self._end(link, None)

    async def _hold(self, link: Link) -> Held | None:
        """Hold the task for a page more; None, and it is given back, if it is not to go on."""
        held = await store.fence(link, self._lease, LEASE_S)
        if held is not None and held.state not in (TaskState.SCHEDULED, TaskState.RUNNING):
            await store.release(link, self._lease)
            return None
        return held

    async def _page(self, link: Link, behind: str) -> Page:
        task, plan = self._task, self._task.plan
        if task.kind is TaskKind.EXPORT_OPENAPI:
            return await _webhooks(link, task.environment_id, behind)
        if task.kind is TaskKind.EVENT_TYPES:
            return await statistics.subscriptions(
                link, task.environment_id, behind=behind, most=APPS
            )
        since = plan.since or task.created_at
        return await statistics.attempts(
            link,
            task.environment_id,
            behind=behind,
            most=APPS,
            since=since.replace(second=0, microsecond=0),
            until=plan.until or task.created_at,
            app_ids=plan.app_ids,
        )

    async def _result(self, found: list[dict[str, Any]]) -> dict[str, Any]:
        kind = self._task.kind
        if kind is not TaskKind.EXPORT_OPENAPI:
            return {_FIELDS[kind]: found}
        named = [(one["name"], one["webhook"]) for one in found]
        return {"schemaZip": await asyncio.to_thread(task_export.url_of, named)}

    async def _end(self, link: Link, found: list[dict[str, Any]] | None) -> None:
        """Write the result; None: it is too large."""
        state, why = TaskState.FINISHED, ""
        if found is None:
            state, result = TaskState.FAILED, {}
            why = f"the result has more than {MOST_BYTES} bytes: {_FEWER[self._task.kind]}"
        else:
            result = await self._result(found)
        async with link.transaction():
            held = await store.fence(link, self._lease, LEASE_S)
            if held is not None and held.state is TaskState.RUNNING:
                await store.set_result(link, self._task.id, result)
                await store.end(link, self._task.id, state, at=self._given.clock(), why=why)
                await tell(link, self._task, state, result)
                await store.release(link, self._lease)


async def _webhooks(link: Link, environment_id: str, behind: str) -> Page:
    """Give the next event types as webhooks; archived ones are passed over."""
    page = await event_types.export(link, environment_id, behind=behind, most=APPS)
    shown = [
        {"name": one.name, "webhook": task_export.webhook(one)} for one in page if not one.archived
    ]
    return Page(shown, page[-1].name if len(page) == APPS else None)
