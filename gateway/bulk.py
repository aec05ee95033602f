"""Many messages in one request: `{"messages": [...]}`, each read, judged and published by itself.

One that is not as it must be is refused alone. What is wrong with the request as a whole (no JSON,
no list, too many, too large) is an error.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from gateway.accept import (
    CHANCE_BYTES,
    TAKEN,
    ask_ledger,
    asks_ledger,
    first_of,
    known_of_late,
    message_of,
    outgoing_of,
    repeated_on_stream,
    wanted_of,
)
from gateway.ack import Ack
from gateway.body import TYPE_FAULT, Fields, parse_published
from gateway.draft import (
    NOWHERE,
    PAYLOAD,
    Draft,
    draft_of,
    is_plain,
    payload_name,
    plain_draft,
)
from gateway.idempotency import Key
from gateway.parts import Parts
from gateway.splice import Spans, compact, item_spans
from schema.errors import Conflict, HooklineError, RequestFault, TooLarge
from schema.message import Message
from schema.store.message import Known, Wanted

MOST: Final = 1_000  # messages of a request
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


def read_bulk(body: bytes, *, max_bytes: int, now: datetime) -> Iterator[Draft | RequestFault]:
    """Read the messages of a request, or what is wrong with each, one by one as they are asked for.

    Args:
        body: JSON.
        max_bytes: Of a payload.
        now: What times for later are compared with.

    Raises:
        Invalid: There is no list of 1 to 1,000 messages.
    """
    data, text, _ = parse_published(body)
    items = _list(data)
    usual = [item for item in items if is_plain(item)]
    if len(usual) == len(items) and text is body:
        payloads = compact(body, FIELD, PAYLOAD[0], [item[PAYLOAD[0]] for item in usual])
        if payloads is not None:
            return (
                _read_plain(item, payload, max_bytes)
                for item, payload in zip(usual, payloads, strict=True)
            )
    places = item_spans(text, FIELD, PAYLOAD, items)
    return (
        _read(item, place, _payload(item, spans, body), max_bytes, now)
        for place, (item, spans) in enumerate(zip(items, places, strict=True))
    )


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


def _payload(item: object, spans: Spans, body: bytes) -> bytes:
    """Cut the bytes of a message's payload out of the body; none of what is no message."""
    name = payload_name(Fields(item))
    return body[slice(*spans.get(name, NOWHERE))]


def _read(
    item: Any,  # noqa: ANN401 - whatever JSON says
    place: int,
    payload: bytes,
    max_bytes: int,
    now: datetime,
) -> Draft | RequestFault:
    if is_plain(item):
        return _read_plain(item, payload, max_bytes)
    try:
        fields = Fields(item, "body", FIELD, f"[{place}]")
        return draft_of(fields, payload, max_bytes=max_bytes, now=now)
    except RequestFault as fault:
        return fault


def _read_plain(item: Mapping[str, Any], payload: bytes, max_bytes: int) -> Draft | RequestFault:
    try:
        return plain_draft(item, payload, max_bytes=max_bytes)
    except RequestFault as fault:
        return fault


async def accept_all(
    given: Parts, app_id: str, drafts: Sequence[Draft], key: Key | None = None
) -> tuple[Sequence[Accepted], int]:
    """Publish drafts; give the message, or the error, that each came to, in their order.

    Of those with the same event id the first is published, and the others are as well off. Gives
    also how many had been published before, by the same request.
    """
    firsts: dict[str | None, int] = {}
    for place, draft in enumerate(drafts):
        firsts.setdefault(draft.event_id, place)
    messages = await given.slices.all(_messages(given, app_id, drafts, key))
    accepted: list[Accepted | None] = [
        None if draft.event_id is None or firsts[draft.event_id] == place else _CONFLICT
        for place, draft in enumerate(drafts)
    ]
    await _recall(given, messages, accepted, key)
    fresh = await _publish(given, drafts, messages, accepted, key)
    number = sum(isinstance(one, Message) for one in accepted)
    for place, draft in enumerate(drafts):
        first = accepted[firsts[draft.event_id]]
        if draft.event_id is not None and isinstance(first, HooklineError):
            accepted[place] = first
    return [one for one in accepted if one is not None], number - fresh


def _messages(
    given: Parts, app_id: str, drafts: Sequence[Draft], key: Key | None
) -> Iterator[Message]:
    now, size = given.clock(), CHANCE_BYTES
    if key is None:
        chance = os.urandom(size * len(drafts))
        chances = [chance[at : at + size] for at in range(0, len(chance), size)]
    else:
        chances = [key.chance_of(place) for place in range(len(drafts))]
    return (message_of(app_id, draft, now, one) for draft, one in zip(drafts, chances, strict=True))


async def _recall(
    given: Parts, messages: Sequence[Message], accepted: list[Accepted | None], key: Key | None
) -> None:
    """Enter what this gateway and Postgres know: what the request made before, or what is taken."""
    if key is None and all(message.event_id is None for message in messages):
        return
    recent, asked = given.publisher.recent, list[tuple[int, Wanted]]()
    for place, message in enumerate(messages):
        if accepted[place] is None:
            wanted = wanted_of(message, key)
            known = known_of_late(recent, wanted)
            accepted[place] = _known(known, message, key)
            if accepted[place] is None and asks_ledger(wanted, key):
                asked.append((place, wanted))
    if asked:
        found = await ask_ledger(given, [wanted for _, wanted in asked])
        for (place, _), known in zip(asked, found, strict=True):
            accepted[place] = _known(known, messages[place], key)


def _known(known: Known, message: Message, key: Key | None) -> Accepted | None:
    try:
        ident = first_of(known, message, key)
    except Conflict as conflict:
        return conflict
    return None if ident is None else replace(message, id=ident)


async def _publish(
    given: Parts,
    drafts: Sequence[Draft],
    messages: Sequence[Message],
    accepted: list[Accepted | None],
    key: Key | None,
) -> int:
    """Publish those of which nothing is known yet; give how many were."""
    fresh = 0
    begun = [place for place, known in enumerate(accepted) if known is None]
    keyed = key is not None
    outgoing = await given.slices.all(
        outgoing_of(messages[place], drafts[place].headers, keyed=keyed) for place in begun
    )
    results = await given.publisher.publish_all(outgoing)
    for place, result in zip(begun, results, strict=True):
        message = messages[place]
        if isinstance(result, HooklineError):
            accepted[place] = result
        elif result.duplicate:
            accepted[place] = await _repeated(given, message, result, key)
        else:
            given.publisher.recent.add(message, keyed=keyed)
            accepted[place] = message
            fresh += 1
    return fresh


async def _repeated(given: Parts, message: Message, ack: Ack, key: Key | None) -> Accepted:
    try:
        return await repeated_on_stream(given, message, ack, key)
    except HooklineError as error:
        return error
