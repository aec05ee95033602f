"""What is sent to an endpoint: an example; whether its rate holds it up; what is called off."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway import ring, trail
from gateway.accept import CHANCE_BYTES, message_of, outgoing_of
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import Fields, read_fields
from gateway.draft import Draft
from gateway.parts import Parts, parts
from gateway.redeliver import check_open, in_transaction
from gateway.routes.endpoint import ONE, find_endpoint
from gateway.routes.message import show as show_message
from gateway.routing import AnyOperation, Operation
from schema import event, ids
from schema.app import App
from schema.endpoint import EndpointState
from schema.errors import BadState, NotFound, Overload, TooLarge
from schema.event_type import EventType
from schema.store import endpoint as endpoints
from schema.store import event_type as event_types
from schema.store import expunge
from schema.store.link import Link

PING: Final = "svix.ping"
PAGE: Final = 1_000  # deliveries that are called off in a transaction
LONGEST_S: Final = 8.0  # of a request that calls off
OVERDUE: Final = timedelta(seconds=2)  # what a lane that nothing holds up takes at most
_PING_PAYLOAD: Final = {"success": True}
_VERSION: Final = "1"
_FIRST: Final = datetime.fromtimestamp(ids.EPOCH_S, UTC)  # no id is older
_AHEAD: Final = timedelta(days=1)  # no message is newer
_MOST_EXAMPLES: Final = 1_000


def routes() -> list[AnyOperation]:
    """List the operations."""
    return [
        Operation(
            method="POST",
            path=f"{ONE}/send-example",
            access=Access.OPERATOR,
            handler=send_example,
        ),
        Operation(
            method="GET",
            path=f"{ONE}/rate-limit-status",
            access=Access.TENANT,
            handler=rate_limit_status,
        ),
        Operation(
            method="POST", path=f"{ONE}/cancel-msgs", access=Access.TENANT, handler=cancel_messages
        ),
    ]


async def send_example(request: Request, caller: Caller) -> Response:
    """Publish an example of an event type, for this endpoint alone and past its filters."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    name = fields.text("eventType", min_length=1, pattern=event.EVENT_TYPE_PATTERN)
    index = fields.optional_integer("exampleIndex", minimum=0, maximum=_MOST_EXAMPLES) or 0
    own = fields.document("payload")
    fields.check()
    async with given.connection() as link:
        endpoint = await find_endpoint(link, request, app)
        check_open(endpoint)
        known = None
        if own is None and name != PING:
            known = await event_types.find(link, app.environment_id, name)
    example = _example(name, known, index) if own is None else own
    draft = _draft(name, example, endpoint.id, given.config.max_payload_bytes)
    judged = await given.catalogue.judge(app.environment_id, draft)
    message = message_of(app.id, draft, given.clock(), os.urandom(CHANCE_BYTES))
    await given.publisher.publish(outgoing_of(message, draft.headers))
    given.publisher.recent.add(message)
    if judged is not None:
        given.catalogue.note(judged, message.id)
    return answer(show_message(message, with_content=True), 202)


async def rate_limit_status(request: Request, caller: Caller) -> Response:
    """Say whether something waits for the endpoint's rate, and since when."""
    given = parts(request)
    app = await resolve_app(request, caller)
    since = None
    async with given.connection() as link:
        endpoint = await find_endpoint(link, request, app)
        limited = endpoint.throttle_rate is not None or app.throttle_rate is not None
        if limited and endpoint.state is EndpointState.ACTIVE:
            since = await endpoints.overdue_since(
                link,
                endpoint,
                shard=ids.shard_of(app.id, given.config.shards),
                before=given.clock() - OVERDUE,
            )
    if since is None:
        return answer({"status": "Ok"})
    return answer({"status": "RateLimited", "throttledSince": since})


async def cancel_messages(request: Request, caller: Caller) -> Response:
    """Call off what the endpoint is owed of messages from before a time.

    Raises:
        Overload: There is more than a request should take.
    """
    given = parts(request)
    app = await resolve_app(request, caller)
    before = _read_before(await read_fields(request), given.clock() + _AHEAD)
    async with given.connection() as link:
        endpoint = await find_endpoint(link, request, app)
    deadline = asyncio.get_running_loop().time() + LONGEST_S
    some = PAGE
    while some == PAGE:
        if asyncio.get_running_loop().time() > deadline:
            raise Overload("There are more messages to cancel: send the request again.")
        some = await _cancel(given, caller, app, endpoint.id, before)
    return nothing()


async def _cancel(given: Parts, caller: Caller, app: App, endpoint_id: str, before: str) -> int:
    some = 0

    async def write(link: Link) -> None:
        nonlocal some
        some = await expunge.cancel_of_endpoint(
            link,
            app.id,
            endpoint_id,
            shard=ids.shard_of(app.id, given.config.shards),
            before=before,
            most=PAGE,
            at=given.clock(),
        )
        if some:
            await ring.recall(link, given, app.id, endpoint_id)
            await trail.note(
                link, given, caller, "endpoint.cancel_messages", endpoint_id, cancelled=some
            )

    await in_transaction(given, write)
    if some:
        await ring.ring(given, app.id)
    return some


def _read_before(fields: Fields, now: datetime) -> str:
    fields.require("createdBefore")
    before = fields.optional_time("createdBefore")
    fields.check()
    if before is None or before < _FIRST:
        return ""
    return ids.first_id(ids.MESSAGE, min(before, now))


def _draft(name: str, example: object, endpoint_id: str, max_bytes: int) -> Draft:
    payload = orjson.dumps(example)
    if len(payload) > max_bytes:
        raise TooLarge(max_bytes)
    return Draft(
        event_type=name,
        event_id=None,
        channels=None,
        tags=None,
        payload=payload,
        headers={event.ENDPOINT: endpoint_id},
    )


def _example(name: str, known: EventType | None, index: int) -> Mapping[str, Any]:
    """Give an example of an event type: of its schema, version 1.

    Raises:
        NotFound: There is no such event type.
        BadState: It has no such example.
    """
    if name == PING:
        return _PING_PAYLOAD
    if known is None:
        kind = "Event type"
        raise NotFound(kind)
    schema = (known.schemas or {}).get(_VERSION)
    examples = schema.get("examples") if isinstance(schema, Mapping) else None
    listed = examples if isinstance(examples, Sequence) else ()
    if index >= len(listed) or not isinstance(listed[index], Mapping):
        raise BadState(
            "The event type has no such example: give its schema `examples`, a list of objects.",
            code="invalid_scheme",
        )
    found: Mapping[str, Any] = listed[index]
    return found
