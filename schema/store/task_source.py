"""What a task chooses: letters by a filter or by ids, messages by what an endpoint got of them.

A page is what was looked at, in order, from behind a cursor; what does not fit is left out of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from schema import ids
from schema.dead_letter import DeadLetter, LetterState
from schema.store import dead_letter_search as search
from schema.store import statements
from schema.store.dead_letter import Filter
from schema.store.link import Link
from schema.store.span import Span
from schema.task import OF_LETTERS, Part, Task, TaskKind

_SQL = statements.load("task_step")
_LAST: Final = "~"  # sorts behind every id
_SOURCES: Final = {
    TaskKind.RECOVER: "dead",
    TaskKind.REPLAY: "messages",
    TaskKind.BULK_REPLAY: "deliveries",
}
SENDABLE: Final = frozenset(LetterState) - {LetterState.REDELIVERING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A message that may be sent, and the letter that it is, if one."""

    app_id: str
    message_id: str
    endpoint_id: str
    letter_id: str | None = None
    has_payload: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A page of candidates; `cursor` is where the next begins, None: there is no next."""

    candidates: Sequence[Candidate]
    cursor: str | None


async def choose(link: Link, task: Task, part: Part, *, most: int) -> Choice:
    """Give the next candidates of a part, up to `most`."""
    if task.kind not in OF_LETTERS:
        return await _of_messages(link, task, part, most)
    if task.plan.letter_ids is not None:
        return await _of_ids(link, task, part, most)
    return await _of_filter(link, task, part, most)


def letters_of(task: Task, part: Part) -> Filter:
    """Give the filter of a part: what was parked before the task was made, at its endpoint."""
    wanted = task.plan.letters or Filter(environment_id=task.environment_id)
    wanted = replace(wanted, before=_earlier(wanted.before, task.before))
    if part.app_id is None or part.endpoint_id is None:
        return wanted
    return replace(wanted, app_ids=(part.app_id,), endpoint_ids=(part.endpoint_id,))


async def _of_filter(link: Link, task: Task, part: Part, most: int) -> Choice:
    span = _span(part.cursor, up=not task.plan.newest_first, most=most)
    found = await search.page(link, letters_of(task, part), span)
    last = found.letters[-1].id if found.letters else None
    full = len(found.letters) >= most
    return Choice(
        candidates=[_candidate(letter) for letter in found.letters],
        cursor=last if full else found.stopped_at,
    )


async def _of_ids(link: Link, task: Task, part: Part, most: int) -> Choice:
    """Choose among ids, in their order by time."""
    down = task.plan.newest_first
    span = _span(part.cursor, up=not down, most=most)
    chosen = sorted(set(task.plan.letter_ids or ()), reverse=down)
    chosen = [one for one in chosen if span.low < one < span.high][:most]
    rows = await link.fetch(
        _SQL["by_ids"],
        task.environment_id,
        part.app_id or task.app_id,  # one of an app never takes another's, whatever it names
        part.endpoint_id,
        chosen,
    )
    found = {row["id"]: row for row in rows}
    return Choice(
        candidates=[
            Candidate(
                app_id=found[one]["app_id"],
                message_id=found[one]["message_id"],
                endpoint_id=found[one]["endpoint_id"],
                letter_id=one,
                has_payload=found[one]["has_payload"],
            )
            for one in chosen
            if one in found
        ],
        cursor=chosen[-1] if len(chosen) >= most else None,
    )


async def _of_messages(link: Link, task: Task, part: Part, most: int) -> Choice:
    plan = task.plan
    low = ids.first_id(ids.MESSAGE, plan.since) if plan.since else ""
    high = ids.first_id(ids.MESSAGE, _earlier(plan.until, task.before))
    span = _span(part.cursor, up=not plan.newest_first, most=most)
    values: list[object] = [
        part.app_id,
        part.endpoint_id,
        max(low, span.low),
        min(high, span.high),
        most,
    ]
    if task.kind is not TaskKind.RECOVER:
        types = None if plan.event_types is None else list(plan.event_types)
        values += [types, plan.channel, plan.tag]
    if task.kind is TaskKind.BULK_REPLAY:
        states = None if plan.delivery_states is None else list(plan.delivery_states)
        values += [states, *(plan.statuses or (None, None))]
    rows = await link.fetch(_SQL[f"{_SOURCES[task.kind]}_{span.way}"], *values)
    return Choice(
        candidates=[
            Candidate(
                app_id=part.app_id or "",
                message_id=row["message_id"],
                endpoint_id=part.endpoint_id or "",
                letter_id=row.get("letter_id"),
                has_payload=row["has_payload"],
            )
            for row in rows
            if row.get("fits", True)
        ],
        cursor=rows[-1]["message_id"] if len(rows) >= most else None,
    )


def _candidate(letter: DeadLetter) -> Candidate:
    return Candidate(
        app_id=letter.app_id,
        message_id=letter.message_id,
        endpoint_id=letter.endpoint_id,
        letter_id=letter.id,
        has_payload=letter.payload_bytes is not None,
    )


def _span(cursor: str, *, up: bool, most: int) -> Span:
    low, high = (cursor, _LAST) if up else ("", cursor or _LAST)
    return Span(low=low, high=high, up=up, limit=most)


def _earlier(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)
