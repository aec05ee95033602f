"""Many messages in one request: `{"messages": [...]}`, each read, judged and published by itself.

One that is not as it must be is refused alone. What is wrong with the request as a whole (no JSON,
no list, too many, too large) is an error.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.accept import (
    CHANCE_BYTES,
    NOWHERE,
    PAYLOAD,
    TAKEN,
    Draft,
    draft_of,
    is_plain,
    message_of,
    outgoing_of,
    payload_name,
    plain_draft,
)
from gateway.body import TYPE_FAULT, Fields, parse
from gateway.parts import Parts
from gateway.publish import Result
from gateway.splice import Spans, compact, item_spans
from schema.errors import Conflict, HooklineError, RequestFault, TooLarge
from schema.message import Message
from schema.store import message as store

MOST: Final = 1_000  # messages of a request; as many as an atomic batch has
FIELD: Final = "messages"
_CONFLICT: Final = Conflict(TAKEN)
Accepted = Message | HooklineError


class BulkTooLarge(TooLarge):
    """The body of a bulk request is larger than the limit."""

    code = "bulk_too_large"

    def __init__(self, limit_bytes: int) -> None:
        """Name the limit."""
        super().__init__(limit_bytes)
        what = f"A bulk request may have {limit_bytes} bytes (HOOKLINE_MAX_BULK_BYTES)"
        self.args = (f"{what}: send fewer messages at a time.",)


def read_bulk(body: bytes, *, max_bytes: int) -> list[Draft | RequestFault]:
    """Read the messages of a request, or what is wrong with each.

    Args:
        body: JSON.
        max_bytes: Of a payload.

    Raises:
        Invalid: There is no list of 1 to 1,000 messages.
    """
    items = _list(parse(body))
    usual = [item for item in items if is_plain(item)]
    if len(usual) == len(items):
        payloads = compact(body, FIELD, PAYLOAD[0], [item[PAYLOAD[0]] for item in usual])
        if payloads is not None:
            return [
                _read_plain(item, payload, max_bytes)
                for item, payload in zip(usual, payloads, strict=True)
            ]
    places = item_spans(body, FIELD, PAYLOAD, items)
    return [
        _read(item, place, spans, body, max_bytes)
        for place, (item, spans) in enumerate(zip(items, places, strict=True))
    ]


def _list(data: object) -> Sequence[object]:
    fields = Fields(data)
    items = fields.raw(FIELD)
    if items is None:
        fields.require(FIELD)
    elif not isinstance(items, list):
        fields.fault(FIELD, "a list is expected", fault_type=TYPE_FAULT)
    elif not 1 <= len(items) <= MOST:
        fields.fault(FIELD, f"1 to {MOST} messages are expected, not {len(items)}")
    fields.check()
    return items if isinstance(items, list) else ()


def _read(
    item: Any,  # noqa: ANN401 - whatever JSON says
    place: int,
    spans: Spans,
    body: bytes,
    max_bytes: int,
) -> Draft | RequestFault:
    if is_plain(item):
        start, end = spans[PAYLOAD[0]]
        return _read_plain(item, body[start:end], max_bytes)
    try:
        fields = Fields(item, "body", FIELD, f"[{place}]")
        span = spans.get(payload_name(fields), NOWHERE)
        return draft_of(fields, *span, body, max_bytes=max_bytes)
    except RequestFault as fault:
        return fault


def _read_plain(item: Mapping[str, Any], payload: bytes, max_bytes: int) -> Draft | RequestFault:
    try:
        return plain_draft(item, payload, max_bytes=max_bytes)
    except RequestFault as fault:
        return fault


async def accept_all(given: Parts, app_id: str, drafts: Sequence[Draft]) -> Sequence[Accepted]:
    """Publish drafts; give the message, or the error, that each came to, in their order.

    Of those with the same event id the first is published, and the others are as well off.
    """
    firsts: dict[str | None, int] = {}
    for place, draft in enumerate(drafts):
        firsts.setdefault(draft.event_id, place)
    taken = await _taken(given, app_id, {one for one in firsts if one is not None})
    begun = [
        place
        for place, draft in enumerate(drafts)
        if draft.event_id is None
        or (firsts[draft.event_id] == place and draft.event_id not in taken)
    ]
    messages = _messages(given, app_id, [drafts[place] for place in begun])
    results = await given.publisher.publish_all([outgoing_of(message) for message in messages])
    accepted: list[Accepted] = [_CONFLICT] * len(drafts)
    for place, message, result in zip(begun, messages, results, strict=True):
        accepted[place] = _outcome(given, message, result)
    for place, draft in enumerate(drafts):
        first = accepted[firsts[draft.event_id]]
        if draft.event_id is not None and isinstance(first, HooklineError):
            accepted[place] = first
    return accepted


async def _taken(given: Parts, app_id: str, event_ids: set[str]) -> set[str]:
    """Say which event ids are taken, as far as this gateway and Postgres know."""
    recent = given.publisher.recent
    taken = {event_id for event_id in event_ids if recent.get(app_id, event_id) is not None}
    asked = [(app_id, event_id) for event_id in event_ids - taken]
    if asked:
        async with given.connection() as link:
            taken |= {event_id for _, event_id in await store.known_event_ids(link, asked)}
    return taken


def _messages(given: Parts, app_id: str, drafts: Sequence[Draft]) -> list[Message]:
    now, chance = given.clock(), os.urandom(CHANCE_BYTES * len(drafts))
    return [
        message_of(app_id, draft, now, chance[place : place + CHANCE_BYTES])
        for place, draft in zip(range(0, len(chance), CHANCE_BYTES), drafts, strict=True)
    ]


def _outcome(given: Parts, message: Message, result: Result) -> Accepted:
    if isinstance(result, HooklineError):
        return result
    if result.duplicate:
        return _CONFLICT
    given.publisher.recent.add(message)
    return message
