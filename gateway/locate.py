"""Finds a message by its id or event id, wherever it lies: Postgres, this gateway, the stream."""

import asyncio
from typing import Final

from gateway.parts import Parts
from gateway.recent import on_stream
from gateway.window import is_key
from schema import ids
from schema.errors import NotFound, Unavailable
from schema.event import UID_PATTERN
from schema.message import Message
from schema.store import message as store
from schema.store.link import Link

KIND: Final = "Message"
_WAIT_S: Final = 2.0
_LOOK_S: Final = 0.05


async def find_message(given: Parts, app_id: str, ref: str) -> Message:
    """Find a message, be it accepted just now.

    Raises:
        NotFound: The app has none such.
    """
    async with given.connection() as link:
        stored = await _stored(link, app_id, ref)
    return stored or await _accepted(given, app_id, ref)


async def find_stored(given: Parts, app_id: str, ref: str) -> Message:
    """Find a message that has a row; wait a moment for the row of one accepted just now.

    Raises:
        NotFound: The app has none such.
        Unavailable: It was accepted, but the row is not there yet.
    """
    deadline = asyncio.get_running_loop().time() + _WAIT_S
    accepted = None
    while True:
        async with given.connection() as link:
            stored = await _stored(link, app_id, ref)
        if stored is not None:
            return stored
        if accepted is None:
            accepted = await _accepted(given, app_id, ref)
        if asyncio.get_running_loop().time() >= deadline:
            part = "The intake"
            raise Unavailable(part)
        await asyncio.sleep(_LOOK_S)


async def _stored(link: Link, app_id: str, ref: str) -> Message | None:
    if not UID_PATTERN.match(ref):
        return None
    if ref.startswith(ids.MESSAGE):
        return await store.by_id(link, app_id, ref) or await _first(link, app_id, ref)
    return await store.by_event_id(link, app_id, ref)


async def _first(link: Link, app_id: str, ident: str) -> Message | None:
    """Give the message that an id stands for whose request was a repeat, found out too late."""
    if not is_key(ids.MESSAGE, ident):
        return None
    return await store.by_key(link, app_id, ids.chance_of(ident))


async def _accepted(given: Parts, app_id: str, ref: str) -> Message:
    found = given.publisher.recent.get(app_id, ref)
    if found is None and is_key(ids.MESSAGE, ref):
        found = await on_stream(
            given.bus,
            stream=given.config.stream,
            shards=given.config.shards,
            app_id=app_id,
            message_id=ref,
            max_bytes=given.config.max_payload_bytes,
        )
    if found is None:
        raise NotFound(KIND)
    return found
