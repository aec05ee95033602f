"""A test of an endpoint: a message for it alone, attempted once and at once, and what came of it.

The message goes the way of all others. A request that is repeated under its idempotency key waits
for the same message, whose id follows from the key: nothing is sent twice.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.accept import Door
from gateway.answer import answer
from gateway.auth import Access, Caller, resolve_app
from gateway.body import parse_published, read_body
from gateway.draft import Draft, read_draft
from gateway.idempotency import read_key
from gateway.parts import Parts, parts
from gateway.redeliver import check_open
from gateway.routes.attempt import show
from gateway.routes.endpoint import ONE, find_endpoint
from gateway.routing import AnyOperation, Operation
from schema import event
from schema.app import App
from schema.endpoint import Endpoint, EndpointState
from schema.errors import BadState, Conflict, FieldFault, HooklineError, Invalid, Overload
from schema.message import Message
from schema.store import attempt as attempts
from schema.store import delivery as deliveries
from schema.store.attempt import Attempt

_PATH: Final = f"{ONE}/msg/test-attempt"
_NONE: Final[Mapping[str, str]] = {}


class NotAttempted(Overload):
    """The message is on disk, and its attempt is still to come."""

    code = "attempt_under_way"


def routes() -> list[AnyOperation]:
    """List the operation."""
    return [
        Operation(
            method="POST",
            path=_PATH,
            access=Access.OPERATOR,
            handler=_Test(),
            knows_repeats=True,
        )
    ]


class _Test:
    """Accepts a message for one endpoint, and answers with its attempt."""

    def __init__(self) -> None:
        self._door = Door()

    async def __call__(self, request: Request, caller: Caller) -> Response:
        """Publish a message for this endpoint alone, past its filters, and give its one attempt.

        Raises:
            NotAttempted: It was not made for too long; it will be in the log.
        """
        given = parts(request)
        app = await resolve_app(request, caller)
        draft = await _read(request)
        async with given.connection() as link:
            endpoint = await find_endpoint(link, request, app)
        _check_active(endpoint)
        async with AsyncExitStack() as waiting:
            try:
                await waiting.enter_async_context(given.awaited.place(app.id))
                message = await self._accept(request, caller, app, _for(draft, endpoint))
            except HooklineError as error:
                given.publisher.metrics.refused.labels(error.code).inc()
                raise
            return await _answer(given, message, endpoint)

    async def _accept(self, request: Request, caller: Caller, app: App, draft: Draft) -> Message:
        given = parts(request)
        judged = await given.catalogue.judge(app.environment_id, draft)
        given.limits.admit(app.id, 1)
        message, repeated = await self._door.accept(given, app.id, draft, read_key(request, caller))
        if repeated:
            given.publisher.metrics.replayed_messages.inc()
            return message
        given.publisher.metrics.accepted_by_http.inc()
        given.limits.accepted(app.id, 1)
        if judged is not None:
            given.catalogue.note(judged, message.id)
        return message


async def _read(request: Request) -> Draft:
    given = parts(request)
    body = await read_body(request)
    draft = read_draft(
        parse_published(body), max_bytes=given.config.max_payload_bytes, now=given.clock()
    )
    if draft.deliver_at is not None:
        msg = "a test is attempted at once: leave it out"
        raise Invalid([FieldFault(loc=("body", "deliverAt"), msg=msg)])
    return draft


def _for(draft: Draft, endpoint: Endpoint) -> Draft:
    """Have a message go to one endpoint, once."""
    besides = {event.ENDPOINT: endpoint.id, event.ONCE: "1"}
    return replace(draft, headers={**(draft.headers or _NONE), **besides})


def _check_active(endpoint: Endpoint) -> None:
    check_open(endpoint)
    if endpoint.state is EndpointState.PAUSED:
        raise BadState(
            "The endpoint is paused: let it go on first (PATCH it with paused: false).",
            code="endpoint_paused",
        )


async def _answer(given: Parts, message: Message, endpoint: Endpoint) -> Response:
    """Wait for the attempt, and answer with it."""

    async def look() -> Attempt | str | None:
        async with given.connection() as link:
            found = await attempts.first(link, message.app_id, message.id, endpoint.id)
            if found is not None:
                return found
            return await deliveries.ended(link, message.app_id, message.id, endpoint.id)

    began_s = asyncio.get_running_loop().time()
    seen: Attempt | str | None = await given.awaited.seen(message.id, look)
    if seen is None:
        waited_s = asyncio.get_running_loop().time() - began_s
        raise NotAttempted(
            f"The message {message.id} is accepted, but its attempt has not ended within "
            f"{waited_s:.0f} s: it will be in the log, GET {_log_of(message)}."
        )
    if isinstance(seen, str):
        raise Conflict(f"The message {message.id} was called off before its attempt: {seen}.", seen)
    return answer(show(seen, with_content=True), 201)


def _log_of(message: Message) -> str:
    return f"/api/v1/app/{message.app_id}/attempt/msg/{message.id}"
