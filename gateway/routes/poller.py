"""Reading an app's messages by polling: `/api/v1/app/{app_id}/poller`.

How pollers are read is Svix's API; how they are made is ours.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import Fields, read_fields
from gateway.common import MAX_UID, read_uid
from gateway.cursor import DEFAULT_LIMIT, MAX_LIMIT
from gateway.endpoint_fields import MAX_DESCRIPTION
from gateway.horizon import Horizon
from gateway.parts import parts
from gateway.query import Query
from gateway.routes.message import show as show_message
from gateway.routing import AnyOperation, Operation
from gateway.window import id_of, is_key
from schema import ids
from schema.app import App
from schema.errors import BadState, FieldFault, Invalid, NotFound
from schema.event import CHANNEL_PATTERN, EVENT_TYPE_PATTERN, MAX_CHANNELS, UID_PATTERN
from schema.message import Message
from schema.poller import Helping, Poller, Wanted
from schema.store import api_key, event_type
from schema.store import poller as store
from schema.store.link import Link

KIND: Final = "Poller"
MOST_POLLERS: Final = 100  # of an app
MOST_CONSUMERS: Final = 1_000  # of a poller
_ALL: Final = "/api/v1/app/{app_id}/poller"
_ONE: Final = f"{_ALL}/{{sink_id}}"
_CONSUMER: Final = f"{_ONE}/consumer/{{consumer_id}}"


def routes(horizon: Horizon) -> list[AnyOperation]:
    """List the operations on pollers."""
    tenant, reader = Access.TENANT, Access.READER
    read = partial(poll, horizon)
    read_on = partial(poll_as_consumer, horizon)
    return [
        Operation(method="GET", path=_ALL, access=tenant, handler=list_pollers),
        Operation(method="POST", path=_ALL, access=tenant, handler=create),
        Operation(method="PATCH", path=_ONE, access=tenant, handler=patch),
        Operation(method="DELETE", path=_ONE, access=tenant, handler=delete),
        Operation(method="GET", path=_ONE, access=reader, handler=read),
        Operation(method="GET", path=_CONSUMER, access=reader, handler=read_on),
        Operation(method="POST", path=f"{_CONSUMER}/seek", access=reader, handler=seek),
    ]


async def list_pollers(request: Request, caller: Caller) -> Response:
    """Give an app's pollers, the oldest first; there are no more than 100."""
    app = await resolve_app(request, caller)
    async with parts(request).connection() as link:
        found = await store.of_app(link, app.id)
    shown = [_show(poller) for poller in found]
    return answer({"data": shown, "iterator": None, "prevIterator": None, "done": True})


async def create(request: Request, caller: Caller) -> Response:
    """Make a poller; it reads what is published from then on, and earlier messages with `after`."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    now = given.clock()
    blank = Poller(
        app_id=app.id,
        id=ids.new_id(ids.POLLER, now),
        uid=None,
        description="",
        event_types=None,
        channels=None,
        created_at=now,
        updated_at=now,
    )
    poller = _changed(blank, fields, now)
    async with given.transaction() as link:
        await _check_event_types(link, caller, app, poller)
        if len(await store.of_app(link, app.id)) >= MOST_POLLERS:
            msg = f"An application may have {MOST_POLLERS} pollers."
            raise BadState(msg, code="limit_reached")
        await store.insert(link, poller)
        await trail.note(link, given, caller, "poller.create", poller.id)
    return answer(_show(poller), 201)


async def patch(request: Request, caller: Caller) -> Response:
    """Change what the body names; null clears what can be empty."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    async with given.transaction() as link:
        poller = _changed(await find(link, request, caller, app), fields, given.clock())
        await _check_event_types(link, caller, app, poller)
        await store.update(link, poller)
        await trail.note(link, given, caller, "poller.update", poller.id)
    return answer(_show(poller))


async def delete(request: Request, caller: Caller) -> Response:
    """Delete a poller, with how far its consumers have read; its keys count no more."""
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.transaction() as link:
        poller = await find(link, request, caller, app)
        await store.delete(link, app.id, poller.id)
        owner = api_key.Owner(environment_id=app.environment_id, app_id=app.id)
        await api_key.end_of_poller(link, owner, poller.id, given.clock())
        await trail.note(link, given, caller, "poller.delete", poller.id)
    given.keys.drop(app.id)
    return nothing()


async def poll(horizon: Horizon, request: Request, caller: Caller) -> Response:
    """Give the messages behind an iterator, which the caller keeps."""
    given = parts(request)
    query = Query(request)
    limit, iterator = read_limits(query)
    only_type = query.text("event_type", pattern=EVENT_TYPE_PATTERN)
    channel = query.text("channel", pattern=CHANNEL_PATTERN)
    after = query.time("after")
    query.check()
    app = await resolve_app(request, caller)
    before = id_of(ids.MESSAGE, await horizon.read(given))
    async with given.connection() as link:
        poller = await find(link, request, caller, app)
        wanted = replace(wanted_of(poller, only_type), channel=channel)
        behind = max(iterator or start_of(poller, after), "" if after is None else place_of(after))
        found = await store.read(link, app.id, wanted, behind=behind, before=before, most=limit)
    return answer(_show_helping(found, behind))


async def poll_as_consumer(horizon: Horizon, request: Request, caller: Caller) -> Response:
    """Give the next messages of a consumer, and remember how far it has read.

    An iterator says that it is done with all before it: it goes on from there, and again from
    there if it asks without one. Without an iterator what it is given counts as read.
    """
    given = parts(request)
    query = Query(request)
    limit, iterator = read_limits(query)
    query.check()
    app = await resolve_app(request, caller)
    before = id_of(ids.MESSAGE, await horizon.read(given))
    async with given.transaction() as link:
        poller, consumer_id, known = await find_consumer(link, request, caller, app)
        behind = iterator or known or start_of(poller)
        wanted = wanted_of(poller)
        found = await store.read(link, app.id, wanted, behind=behind, before=before, most=limit)
        read_to = behind if iterator else found.read_to or behind
        if read_to != known:
            await store.set_consumer(link, poller, consumer_id, read_to, given.clock())
    return answer(_show_helping(found, behind))


async def seek(request: Request, caller: Caller) -> Response:
    """Have a consumer go on from a time, wherever it was."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    fields.require("after")
    after = fields.optional_time("after")
    fields.check()
    read_to = place_of(after or given.clock())
    async with given.transaction() as link:
        poller, consumer_id, _ = await find_consumer(link, request, caller, app)
        await store.set_consumer(link, poller, consumer_id, read_to, given.clock())
    return answer({"iterator": read_to})


async def find(link: Link, request: Request, caller: Caller, app: App) -> Poller:
    """Find the poller that a path names.

    Raises:
        NotFound: The app has none such, or it is not the caller's own.
    """
    ref: str = request.path_params["sink_id"]
    found = await store.find(link, app.id, ref) if UID_PATTERN.match(ref) else None
    if found is None or caller.poller_id not in {None, found.id}:
        raise NotFound(KIND)
    return found


async def find_consumer(
    link: Link, request: Request, caller: Caller, app: App
) -> tuple[Poller, str, str | None]:
    """Find the consumer that a path names, and how far it has read; new ones are within bounds.

    Raises:
        NotFound: The app has no such poller, or a consumer cannot be named so.
        BadState: It would be one too many.
    """
    poller = await find(link, request, caller, app)
    consumer_id: str = request.path_params["consumer_id"]
    if not UID_PATTERN.match(consumer_id) or len(consumer_id) > MAX_UID:
        raise NotFound("Consumer")
    known = await store.lock_consumer(link, poller, consumer_id)
    most = MOST_CONSUMERS
    if known is None and await store.consumers(link, poller, most) >= most:
        msg = f"A poller may have {most} consumers."
        raise BadState(msg, code="limit_reached")
    return poller, consumer_id, known


def _changed(present: Poller, fields: Fields, now: datetime) -> Poller:
    """Read what a body names of a poller.

    Raises:
        Invalid: A field is not as it must be.
    """
    readers: dict[str, Callable[[Poller], Poller]] = {
        "uid": lambda p: replace(p, uid=read_uid(fields, ids.POLLER)),
        "description": lambda p: replace(
            p, description=fields.text("description", max_length=MAX_DESCRIPTION)
        ),
        "eventTypes": lambda p: replace(
            p, event_types=fields.optional_texts("eventTypes", pattern=EVENT_TYPE_PATTERN)
        ),
        "channels": lambda p: replace(
            p,
            channels=fields.optional_texts(
                "channels", pattern=CHANNEL_PATTERN, max_items=MAX_CHANNELS
            ),
        ),
    }
    for name, read in readers.items():
        if fields.has(name):
            present = read(present)
    fields.check()
    return replace(present, updated_at=now)


async def _check_event_types(link: Link, caller: Caller, app: App, poller: Poller) -> None:
    unusable = await event_type.unusable(
        link, app.environment_id, poller.event_types or (), caller.feature_flags
    )
    if unusable:
        msg = f"The following event types don't exist: {', '.join(unusable)}"
        raise Invalid([FieldFault(loc=("body", "eventTypes"), msg=msg)])


def read_limits(query: Query) -> tuple[int, str | None]:
    """Read how many messages are asked for, and behind which; the caller checks the query."""
    limit = query.integer("limit", minimum=1, maximum=MAX_LIMIT)
    iterator = query.text("iterator")
    if iterator is not None and not is_key(ids.MESSAGE, iterator):
        query.fault("iterator", "this is not an iterator of a poller")
    return limit or DEFAULT_LIMIT, iterator


def wanted_of(poller: Poller, only_type: str | None = None) -> Wanted:
    """Say which messages a poller has, and of them those of a type."""
    types = poller.event_types
    if only_type is not None:
        types = (only_type,) if types is None or only_type in types else ()
    return Wanted(event_types=types, channels=poller.channels)


def start_of(poller: Poller, after: datetime | None = None) -> str:
    """Give the id behind which a poller begins, or goes back to."""
    return place_of(poller.created_at if after is None else after)


def place_of(at: datetime) -> str:
    """Give the id behind which all messages of a time and later are."""
    return id_of(ids.MESSAGE, at)


def _show_helping(found: Helping, behind: str) -> dict[str, object]:
    return {
        "data": [show_polled(message) for message in found.messages],
        "iterator": found.read_to or behind,
        "done": found.done,
    }


def show_polled(message: Message) -> dict[str, object]:
    """Give what is shown of a message that is polled for."""
    return show_message(message, with_content=True) | {"headers": None}


def _show(poller: Poller) -> dict[str, object]:
    return {
        "id": poller.id,
        "uid": poller.uid,
        "description": poller.description,
        "eventTypes": poller.event_types,
        "channels": poller.channels,
        "createdAt": poller.created_at,
        "updatedAt": poller.updated_at,
    }
