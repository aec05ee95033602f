"""One step of a task: letters or messages chosen, owed, and noted, in the caller's transaction."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from dispatcher.parts import Parts
from schema import ids
from schema.dead_letter import LetterState
from schema.endpoint import EndpointState
from schema.retry import MAX_ATTEMPTS
from schema.store import task_source as source
from schema.store import task_step as store
from schema.store import wake
from schema.store.link import Link
from schema.store.task_source import Candidate, Choice
from schema.store.task_step import NewItem
from schema.task import OF_LETTERS, SENDING, ItemState, Part, PartState, Task, TaskKind

NO_PAYLOAD: Final = "the payload was expunged"
NOT_THERE: Final = "the letter is on its way, or not as it was chosen any more"
OWED: Final = "the endpoint is owed the message already, or has it"
_FREE: Final = 500  # of a step that sends nothing


class Lane(NamedTuple):
    """Where a part sends to; `blocked` says why it cannot."""

    blocked: str | None
    rate: float | None


class Sending:
    """The steps of one task."""

    def __init__(self, given: Parts, task: Task, *, ring: Callable[[str], Awaitable[None]]) -> None:
        """Take the task; `ring` tells the owner of an app's shard that there is work."""
        self._given = given
        self._task = task
        self._ring = ring
        self.sends = task.kind in SENDING

    async def lane(self, link: Link, part: Part) -> Lane:
        """Say how the endpoint that a part sends to stands."""
        if part.app_id is None or not self.sends:
            return Lane(None, None)
        found = await store.endpoint(link, part.app_id, self._target(part))
        if found is None or found.deleted:
            return Lane("the endpoint was deleted", None)
        if found.state == EndpointState.DISABLED:
            return Lane("the endpoint is disabled", None)
        return Lane(None, found.rate)

    async def ring(self, part: Part) -> None:
        """Tell the owner of the shard that a part sent something."""
        await self._ring(part.app_id or "")

    async def step(self, link: Link, part: Part, lane: Lane, *, room: int, number: int) -> int:
        """Choose and write up to `room` items from `number` on; give how many were sent."""
        quick = lane.blocked is not None or not self.sends
        choice = await source.choose(link, self._task, part, most=_FREE if quick else room)
        if not self.sends:
            items = await self._give_up(link, choice)
        elif lane.blocked is not None:
            items = [_skipped(one, lane.blocked) for one in choice.candidates]
        else:
            items = await self._owe(link, part, choice.candidates)
        if items:
            at = self._given.clock()
            await store.add_items(link, self._task.id, part, items, number=number, at=at)
        sent = sum(item.state is ItemState.SENT for item in items)
        await self._advance(link, part, choice, sent)
        return sent

    def _target(self, part: Part) -> str:
        return self._task.plan.to_endpoint_id or part.endpoint_id or ""

    async def _advance(self, link: Link, part: Part, choice: Choice, sent: int) -> None:
        over = choice.cursor is None
        await store.set_part(
            link,
            self._task.id,
            part,
            cursor=part.cursor if choice.cursor is None else choice.cursor,
            state=PartState.READ if over else PartState.OPEN,
            why="",
            sent=sent,
        )

    async def _give_up(self, link: Link, choice: Choice) -> list[NewItem]:
        """Discard or purge; those that were are counted, the others are items."""
        letters = [(one.app_id, one.letter_id or "") for one in choice.candidates]
        if self._task.kind is TaskKind.PURGE:
            gone = await store.purge(link, letters)
        else:
            gone = await store.discard(link, letters, self._given.clock())
        return [
            _skipped(one, NOT_THERE)
            if one.letter_id not in gone
            else _item(one, one.endpoint_id, ItemState.DONE)
            for one in choice.candidates
        ]

    async def _owe(self, link: Link, part: Part, candidates: Sequence[Candidate]) -> list[NewItem]:
        """Owe what can be owed; settling holds deliveries before letters, and so does this."""
        app_id, own, at = part.app_id or "", part.endpoint_id or "", self._given.clock()
        await store.hold(link, app_id, own, [one.message_id for one in candidates])
        letters = [one.letter_id for one in candidates if one.letter_id is not None]
        there = await store.lock_letters(link, app_id, letters, self._states())
        able = [
            one
            for one in candidates
            if one.has_payload and (one.letter_id is None or one.letter_id in there)
        ]
        of_letters = [one.letter_id for one in able if one.letter_id is not None]
        await store.restore(link, app_id, of_letters)
        target = self._target(part)
        runs = await store.owe(
            link,
            app_id,
            target,
            [one.message_id for one in able],
            shard=ids.shard_of(app_id, self._given.shards),
            failures=0 if self._task.plan.retry else MAX_ATTEMPTS,
            delivered_too=target == own and self._task.kind is not TaskKind.REPLAY,
            at=at,
        )
        sent = [
            one.letter_id for one in able if one.letter_id is not None and one.message_id in runs
        ]
        await store.send_letters(link, app_id, sent, at)
        await wake.add(link, ids.shard_of(app_id, self._given.shards), app_id, [target])
        return [
            self._sent_or_not(one, target, runs.get(one.message_id), there) for one in candidates
        ]

    def _states(self) -> frozenset[LetterState]:
        """Say where letters may stand that are sent."""
        plan = self._task.plan
        if self._task.kind not in OF_LETTERS:
            return frozenset({LetterState.PARKED})
        if plan.letter_ids is not None or plan.letters is None:
            return source.SENDABLE
        return source.SENDABLE & set(plan.letters.states)

    def _sent_or_not(
        self, one: Candidate, target: str, run: int | None, there: set[str]
    ) -> NewItem:
        if run is not None:
            return _item(one, target, ItemState.SENT, run=run)
        if not one.has_payload:
            return _skipped(one, NO_PAYLOAD)
        gone = one.letter_id is not None and one.letter_id not in there
        return _skipped(one, NOT_THERE if gone else OWED)


def _skipped(one: Candidate, why: str) -> NewItem:
    return _item(one, one.endpoint_id, ItemState.SKIPPED, detail=why)


def _item(
    one: Candidate, endpoint_id: str, state: ItemState, *, run: int | None = None, detail: str = ""
) -> NewItem:
    return NewItem(one.app_id, one.message_id, endpoint_id, one.letter_id, run, state, detail)
