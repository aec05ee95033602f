"""Steps of tasks on all messages of an app, or for all apps, in the caller's transaction.

They owe nothing to anybody, so nothing is waited for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import nats.errors

from dispatcher.parts import Parts
from dispatcher.task_send import Lane
from schema import event, ids
from schema.errors import Unavailable
from schema.operational import is_fresh
from schema.store import app as apps
from schema.store import expunge, wake
from schema.store import message as messages
from schema.store import task_step as store
from schema.store.link import Link
from schema.store.message import Wanted
from schema.store.task_step import NewItem
from schema.task import ItemState, Part, PartState, Publication, Task

TAKEN: Final = "the app has a message with this eventId"
_MESSAGES: Final = 500  # of a step
_APPS: Final = 100
_ACK_S: Final = 5.0
_ANY: Final = Lane(None, None)


class Expunging:
    """Forgets the payloads of an app's messages."""

    sends = False

    def __init__(self, given: Parts, task: Task, *, ring: Callable[[str], Awaitable[None]]) -> None:
        """Take the task; `ring` tells the owner of an app's shard to look."""
        self._given = given
        self._task = task
        self._ring = ring

    async def lane(self, link: Link, part: Part) -> Lane:
        """Say that nothing is sent."""
        del link, part
        return _ANY

    async def ring(self, part: Part) -> None:
        """Tell the owner of the app's shard what is not owed any more."""
        await self._ring(part.app_id or "")

    async def step(self, link: Link, part: Part, lane: Lane, *, room: int, number: int) -> int:
        """Forget the payloads of the next messages; give how many there were."""
        del lane, room, number
        app_id, at = part.app_id or "", self._given.clock()
        before = ids.first_id(ids.MESSAGE, self._task.before)
        chosen = await expunge.page(link, app_id, behind=part.cursor, before=before, most=_MESSAGES)
        forgotten, endpoints = await expunge.expunge(link, app_id, chosen, at)
        if endpoints:
            shard = ids.shard_of(app_id, self._given.shards)
            await wake.add(link, shard, app_id, endpoints, recall=True)
        if forgotten:
            await store.count_done(link, self._task.id, forgotten, at=at)
        await _advance(link, self._task, part, chosen, _MESSAGES)
        return forgotten


class Broadcasting:
    """Publishes a message for each app of an environment."""

    sends = False

    def __init__(self, given: Parts, task: Task) -> None:
        """Take the task."""
        self._given = given
        self._task = task

    async def lane(self, link: Link, part: Part) -> Lane:
        """Say that nothing is owed to an endpoint."""
        del link, part
        return _ANY

    async def ring(self, part: Part) -> None:
        """Tell nobody: what is published is noticed."""

    async def step(self, link: Link, part: Part, lane: Lane, *, room: int, number: int) -> int:
        """Publish for the next apps; give for how many.

        Raises:
            Unavailable: The stream does not take them all. Those that it took it knows again.
        """
        del lane, room
        what, at = self._task.plan.publication, self._given.clock()
        if what is None:
            raise ValueError(self._task.id)
        chosen = await apps.ids_behind(
            link, self._task.environment_id, behind=part.cursor, most=_APPS
        )
        taken = await _taken(link, chosen, what)
        published = [app_id for app_id in chosen if app_id not in taken]
        await self._publish(published, what)
        items = [self._item(app_id, skipped=app_id in taken) for app_id in chosen]
        if items:
            await store.add_items(link, self._task.id, part, items, number=number, at=at)
        await _advance(link, self._task, part, chosen, _APPS)
        return len(published)

    async def _publish(self, app_ids: Sequence[str], what: Publication) -> None:
        acks = [self._publish_one(app_id, what) for app_id in app_ids]
        for ack in await asyncio.gather(*acks, return_exceptions=True):
            if isinstance(ack, nats.errors.Error | OSError | TimeoutError):
                part = "NATS"
                raise Unavailable(part) from ack
            if isinstance(ack, BaseException):
                raise ack

    async def _publish_one(self, app_id: str, what: Publication) -> None:
        ident = self._message_id(app_id)
        subject, headers = event.publish_subject(app_id, what.event_type)
        headers |= what.headers
        headers[event.DEDUPE_ID] = ident
        if what.event_id is not None:
            headers[event.EVENT_ID] = what.event_id
            headers[event.DEDUPE_ID] = f"{app_id}:{what.event_id}"
        if is_fresh(self._task.created_at, self._given.clock()):
            headers[event.MESSAGE_ID] = ident
        stream = self._given.bus.jetstream(timeout=_ACK_S)
        await stream.publish(subject, what.payload.encode(), headers=headers)

    def _message_id(self, app_id: str) -> str:
        source = f"{self._task.id}:{app_id}".encode()
        return ids.derived_id(ids.MESSAGE, self._task.created_at, source)

    def _item(self, app_id: str, *, skipped: bool) -> NewItem:
        state, detail = (ItemState.SKIPPED, TAKEN) if skipped else (ItemState.DONE, "")
        return NewItem(app_id, self._message_id(app_id), "", None, None, state, detail)


async def _taken(link: Link, app_ids: Sequence[str], what: Publication) -> set[str]:
    """Give the apps that have a message with the event id already."""
    if what.event_id is None or not app_ids:
        return set()
    wanted = [Wanted(app_id, what.event_id, None) for app_id in app_ids]
    known = await messages.known(link, wanted, since="")
    return {app_id for app_id, one in zip(app_ids, known, strict=True) if one.by_event_id}


async def _advance(link: Link, task: Task, part: Part, chosen: Sequence[str], most: int) -> None:
    over = len(chosen) < most
    await store.set_part(
        link,
        task.id,
        part,
        cursor=chosen[-1] if chosen else part.cursor,
        state=PartState.READ if over else PartState.OPEN,
        why="",
        sent=0,
    )
