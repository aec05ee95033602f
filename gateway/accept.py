"""Accepts messages by HTTP: refuses repeated event ids, answers repeated requests, publishes.

An event id is repeated if this gateway accepted it a moment ago, if Postgres knows it, or if the
stream does (for its duplicate window): the stream's word is the last, so that of two at the same
time one is refused. A request that is repeated under its idempotency key is known in the same three
places, by the end of the message's id, which is derived from the key; it gets the first message.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from gateway.ack import Ack
from gateway.draft import Draft
from gateway.idempotency import KEPT, Key
from gateway.parts import Parts
from gateway.recent import Recent, at_sequence
from gateway.relay import Relay
from gateway.wire import Outgoing, outgoing
from schema import event, ids
from schema.errors import Conflict
from schema.message import Message
from schema.store import message as store
from schema.store.message import NOTHING_KNOWN, Known, Wanted

_ASK_TOGETHER: Final = 500
_NONE: Final[Mapping[str, str]] = {}
CHANCE_BYTES: Final = ids.CHANCE_BYTES
TAKEN: Final = "A message with this eventId exists already."


class Door:
    """Accepts drafts for one gateway."""

    def __init__(self) -> None:
        """Start with nobody asking."""
        self._ledger = Relay[Wanted, Known](most=_ASK_TOGETHER)

    async def accept(
        self, given: Parts, app_id: str, draft: Draft, key: Key | None
    ) -> tuple[Message, bool]:
        """Publish a draft and give the message that it is now, and whether it was before.

        Raises:
            Conflict: Its event id is another message's.
        """
        chance = os.urandom(CHANCE_BYTES) if key is None else key.chance
        message = message_of(app_id, draft, given.clock(), chance)
        first = await self._first(given, message, key)
        if first is not None:
            return first, True
        ack = await given.publisher.publish(
            outgoing_of(message, draft.headers, keyed=key is not None)
        )
        if ack.duplicate:
            return await repeated_on_stream(given, message, ack, key), True
        given.publisher.recent.add(message, keyed=key is not None)
        return message, False

    async def _first(self, given: Parts, message: Message, key: Key | None) -> Message | None:
        """Give the message that the key made before, as far as this gateway and Postgres know.

        Raises:
            Conflict: The event id is another message's.
        """
        recent = given.publisher.recent
        wanted = wanted_of(message, key)
        known = known_of_late(recent, wanted)
        if known is NOTHING_KNOWN and asks_ledger(wanted, key):
            known = await self._ledger.ask(wanted, partial(ask_ledger, given))
        if known is NOTHING_KNOWN:
            return None
        ident = first_of(known, message, key)
        if ident is None:
            return None
        return recent.get(message.app_id, ident) or await read_message(given, message, ident)


def wanted_of(message: Message, key: Key | None) -> Wanted:
    """Say what of a message may be known already."""
    return Wanted(
        message.app_id, message.event_id, None if key is None else ids.chance_of(message.id)
    )


def asks_ledger(wanted: Wanted, key: Key | None) -> bool:
    """Tell whether Postgres has to be asked; of a client's own new key the stream knows enough."""
    return wanted.event_id is not None or not (key is None or key.is_fresh)


def known_of_late(recent: Recent, wanted: Wanted) -> Known:
    """Say what this gateway accepted a moment ago; `NOTHING_KNOWN` itself, if nothing."""
    by_event_id = by_key = None
    if wanted.event_id is not None:
        by_event_id = recent.get(wanted.app_id, wanted.event_id)
    if wanted.key is not None:
        by_key = recent.keyed(wanted.app_id, wanted.key)
    if by_event_id is None and by_key is None:
        return NOTHING_KNOWN
    return Known(
        None if by_event_id is None else by_event_id.id, None if by_key is None else by_key.id
    )


async def ask_ledger(given: Parts, wanted: Sequence[Wanted]) -> Sequence[Known]:
    """Say what Postgres knows."""
    since = ids.first_id(ids.MESSAGE, given.clock() - KEPT)
    async with given.connection() as link:
        return await store.known(link, wanted, since=since)


def first_of(known: Known, message: Message, key: Key | None) -> str | None:
    """Give the id of the message that the same request made before, if it did.

    Raises:
        Conflict: The event id is another message's.
    """
    if known.by_key is not None:
        return known.by_key
    if known.by_event_id is None:
        return None
    if key is not None and ids.chance_of(known.by_event_id) == ids.chance_of(message.id):
        return known.by_event_id
    raise Conflict(TAKEN)


async def repeated_on_stream(given: Parts, message: Message, ack: Ack, key: Key | None) -> Message:
    """Give the message that lies on the stream in place of this one, if the same request made it.

    Raises:
        Conflict: Another one did.
    """
    if key is not None:
        first = await at_sequence(
            given.bus,
            stream=given.config.stream,
            sequence=ack.sequence,
            app_id=message.app_id,
            max_bytes=given.config.max_payload_bytes,
        )
        if first is not None and ids.chance_of(first.id) == ids.chance_of(message.id):
            return first
    raise Conflict(TAKEN)


async def read_message(given: Parts, like: Message, ident: str) -> Message:
    """Read a message that Postgres knows; what retention took away is given as it is sent now."""
    async with given.connection() as link:
        return await store.by_id(link, like.app_id, ident) or replace(like, id=ident)


def message_of(app_id: str, draft: Draft, now: datetime, chance: bytes) -> Message:
    """Make the message that a draft becomes now."""
    return Message(
        app_id=app_id,
        id=ids.new_id(ids.MESSAGE, now, chance),
        event_type=draft.event_type,
        event_id=draft.event_id,
        channels=draft.channels,
        tags=draft.tags,
        payload=draft.payload,
        content_type=(draft.headers or _NONE).get(event.CONTENT_TYPE, event.JSON),
        created_at=now,
        deliver_at=draft.deliver_at,
    )


def outgoing_of(
    message: Message, besides: Mapping[str, str] | None = None, *, keyed: bool = False
) -> Outgoing:
    """Make a message ready for the stream.

    Args:
        message: What is published.
        besides: Headers of the event that the message does not tell.
        keyed: The end of its id is derived from an idempotency key: nothing else is stored under
            the same one.
    """
    subject, headers = event.publish_subject(message.app_id, message.event_type)
    headers |= _headers(message)
    if besides:
        headers |= besides
    if keyed:
        headers[event.KEYED] = "1"
        if message.event_id is None:
            # No event id has a colon.
            headers[event.DEDUPE_ID] = f"{message.app_id}:key:{ids.chance_of(message.id)}"
    return outgoing(subject, headers, message.payload or b"")


def _headers(message: Message) -> dict[str, str]:
    headers = {event.MESSAGE_ID: message.id, event.DEDUPE_ID: message.id}
    if message.event_id is not None:
        headers[event.EVENT_ID] = message.event_id
        headers[event.DEDUPE_ID] = f"{message.app_id}:{message.event_id}"
    if message.channels:
        headers[event.CHANNELS] = ",".join(message.channels)
    if message.tags:
        headers[event.TAGS] = ",".join(message.tags)
    if message.deliver_at is not None:
        headers[event.DELIVER_AT] = message.deliver_at.isoformat()
    return headers
