"""Sends again by hand: any message to any endpoint, and dead letters.

The delivery, its letter, and a note for the owner of the shard are written in one transaction, in
this order, as settling does; then the owner is rung.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from gateway import ring, trail
from gateway.auth import Caller
from gateway.parts import Parts
from schema.app import App
from schema.dead_letter import DeadLetter, LetterState
from schema.endpoint import Endpoint, EndpointState
from schema.errors import BadState
from schema.ids import shard_of
from schema.message import Message
from schema.store import dead_letter, delivery, endpoint
from schema.store import message as messages
from schema.store.link import Link

_TRIES: Final = 3  # settling may hold the same rows in another order


async def resend(
    given: Parts, caller: Caller, app: App, message: Message, target: Endpoint
) -> None:
    """Owe a message to an endpoint now, whatever became of it before, past the endpoint's filters.

    Raises:
        BadState: The payload was expunged, or the endpoint is disabled.
    """
    if message.payload is None:
        raise no_payload()
    check_open(target)

    async def write(link: Link) -> None:
        await _owe(link, given, app.id, message.id, target.id)
        await dead_letter.redeliver_of(link, app.id, message.id, target.id, given.clock())
        await ring.note(link, given, app.id, target.id)
        await trail.note(link, given, caller, "message.resend", message.id, endpoint=target.id)

    await in_transaction(given, write)
    await ring.ring(given, app.id)


async def redeliver(given: Parts, caller: Caller, app: App, letter: DeadLetter) -> None:
    """Owe a dead letter's delivery now; a letter that is on its way already is left alone.

    Raises:
        BadState: The payload was expunged, or the endpoint is disabled or was deleted.
    """
    if letter.state is LetterState.REDELIVERING:
        return
    if letter.payload is None:
        raise no_payload()
    async with given.connection() as link:
        target = await endpoint.find(link, app.id, letter.endpoint_id)
    if target is None:
        raise BadState(
            "The endpoint was deleted: resend the message to another one, or discard the letter.",
            code="endpoint_deleted",
        )
    check_open(target)

    async def write(link: Link) -> None:
        await delivery.lock(link, app.id, letter.message_id, letter.endpoint_id)
        if not await dead_letter.redeliver(link, app.id, letter.id, given.clock()):
            return  # somebody else did in between
        await messages.restore(link, app.id, letter.id, letter.message_id)
        await _owe(link, given, app.id, letter.message_id, letter.endpoint_id)
        await ring.note(link, given, app.id, letter.endpoint_id)
        await trail.note(link, given, caller, "dead_letter.redeliver", letter.id)

    await in_transaction(given, write)
    await ring.ring(given, app.id)


async def _owe(link: Link, given: Parts, app_id: str, message_id: str, endpoint_id: str) -> None:
    shard = shard_of(app_id, given.config.shards)
    await delivery.resend(link, app_id, message_id, endpoint_id, shard=shard, at=given.clock())


async def in_transaction(given: Parts, write: Callable[[Link], Awaitable[None]]) -> None:
    """Write deliveries and letters in a transaction; again, if settling holds them crosswise."""
    for left in reversed(range(_TRIES)):
        try:
            async with given.transaction() as link:
                await write(link)
        except asyncpg.DeadlockDetectedError:
            if not left:
                raise
        else:
            return


def check_open(target: Endpoint) -> None:
    """Hold that something may be sent to an endpoint.

    Raises:
        BadState: It is disabled.
    """
    if target.state is EndpointState.DISABLED:
        raise BadState(
            "The endpoint is disabled: enable it first (PATCH it with disabled: false).",
            code="endpoint_disabled",
        )


def no_payload() -> BadState:
    """Make the error of a letter or message whose payload was expunged."""
    return BadState("The payload was expunged: there is nothing to send.", code="missing_payload")
