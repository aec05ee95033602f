"""Reading by leases: `/api/v1/app/{app_id}/polling-endpoint`, by Svix's API.

Whoever polls as a consumer has what it is given in hand until it commits it, or its lease is over;
meanwhile nobody else gets anything as that consumer, so that its messages stay in order.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import read_fields
from gateway.cursor import DEFAULT_LIMIT, MAX_LIMIT
from gateway.horizon import Horizon
from gateway.parts import parts
from gateway.query import Query
from gateway.routes.poller import find, find_consumer, place_of, show_polled, start_of, wanted_of
from gateway.routing import AnyOperation, Operation
from gateway.window import id_of
from schema import ids
from schema.api_key import Capability
from schema.errors import FieldFault, Invalid, NotFound
from schema.poller import Helping, Lease, Poller
from schema.store import poller as store

DEFAULT_LEASE_MS: Final = 30_000
MAX_LEASE_MS: Final = 3_600_000
MAX_OFFSET: Final = 2**63 - 1
EARLIEST: Final = "earliest"  # of all messages that are kept
LATEST: Final = "latest"  # what is published from now on
STARTS: Final = (EARLIEST, LATEST)
_EMPTY: Final[dict[str, object]] = {"data": [], "done": True}
_CONSUMER: Final = "/api/v1/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}"


def routes(horizon: Horizon) -> list[AnyOperation]:
    """List the operations on leases."""
    return [
        Operation(
            method="GET", path=_CONSUMER, access=Access.READER, handler=partial(poll, horizon)
        ),
        Operation(
            method="POST",
            path=f"{_CONSUMER}/commit",
            access=Access.READER,
            handler=commit,
            capability=Capability.VIEW_BASE,  # it is part of reading
            writes=False,
        ),
    ]


async def poll(horizon: Horizon, request: Request, caller: Caller) -> Response:
    """Lease the next messages of a consumer; nothing, while another caller has some in hand."""
    given = parts(request)
    query = Query(request)
    limit = query.integer("limit", minimum=1, maximum=MAX_LIMIT) or DEFAULT_LIMIT
    lease_ms = query.integer("lease_duration_ms", minimum=0, maximum=MAX_LEASE_MS)
    starting = query.choice("starting_position", STARTS)
    query.check()
    app = await resolve_app(request, caller)
    before = id_of(ids.MESSAGE, await horizon.read(given))
    async with given.transaction() as link:
        poller, consumer_id, known = await find_consumer(link, request, caller, app)
        now = given.clock()
        if known is None:
            await store.begin_consumer(
                link, poller, consumer_id, _start(poller, starting, now), now
            )
        lease = await store.lock_lease(link, poller, consumer_id)
        if lease is None or lease.holds(now):
            return answer(_EMPTY)
        found = await store.read(
            link, app.id, wanted_of(poller), behind=lease.read_to, before=before, most=limit
        )
        until = now + timedelta(milliseconds=DEFAULT_LEASE_MS if lease_ms is None else lease_ms)
        taken = _take(lease, found, until)
        if taken != lease:
            await store.set_lease(link, poller, consumer_id, taken, now)
    return answer(_show(found, taken))


async def commit(request: Request, caller: Caller) -> Response:
    """Be done with all of a consumer's messages up to an offset."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    fields.require("offset")
    offset = fields.optional_integer("offset", minimum=0, maximum=MAX_OFFSET) or 0
    fields.check()
    consumer_id: str = request.path_params["consumer_id"]
    async with given.transaction() as link:
        poller = await find(link, request, caller, app)
        lease = await store.lock_lease(link, poller, consumer_id)
        if lease is None:
            raise NotFound("Consumer")
        try:
            committed = lease.committed(offset)
        except LookupError:
            msg = "no message with this offset was given to this consumer; poll for messages first"
            raise Invalid([FieldFault(loc=("body", "offset"), msg=msg)]) from None
        if committed != lease:
            await store.set_lease(link, poller, consumer_id, committed, given.clock())
    return nothing()


def _start(poller: Poller, starting: str | None, now: datetime) -> str:
    """Say behind which id a new consumer begins; if nothing is said, where the poller does."""
    at = {None: None, EARLIEST: datetime.min.replace(tzinfo=UTC), LATEST: now}[starting]
    return start_of(poller) if at is None else place_of(at)


def _take(lease: Lease, found: Helping, until: datetime) -> Lease:
    """Lease what was found; if it is nothing, pass by what does not fit."""
    if found.messages:
        return lease.taken([message.id for message in found.messages], until)
    return replace(lease.taken((), None), read_to=found.read_to or lease.read_to)


def _show(found: Helping, lease: Lease) -> dict[str, object]:
    shown = [
        {"offset": offset, **show_polled(message)}
        for offset, message in enumerate(found.messages, lease.first_offset)
    ]
    return {"data": shown, "done": found.done}
