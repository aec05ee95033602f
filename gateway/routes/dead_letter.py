"""Dead letters, newest first: `/api/v1/app/{app_id}/dead-letter`; all apps: `/api/v1/dead-letter`.

A letter is shown as

    id, appId, messageId, endpointId, eventType, eventId, channels
    state               parked, redelivering, redelivered or discarded
    reason              why the delivery was given up: exhausted, gone, endpoint_disabled,
                        endpoint_deleted, aborted or expired
    errorClass          of what kind the failure was
    fault               why there was no answer, if there was none
    responseStatusCode  0 when there was no answer
    detail              one line about the fault
    fingerprint         equal for letters that failed alike
    groupId             of those that failed alike at this endpoint
    url                 where the last attempt went
    payloadBytes        null once expunged
    attempts, firstAttemptAt, lastAttemptAt, lastAttemptId
    messageAt, parkedAt, updatedAt

and alone also with `payload` (`{"expired": true}` once expunged), `contentType`, `headers` (those
that the endpoint had added; of those that hold credentials, `sensitive`, the names), `response`
(text, or base64 of what is not UTF-8) and `reissuedAs`: the messages that were made of it. What
lists take stands in `gateway.letters`.
"""

from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import read_fields
from gateway.cursor import Page, envelope
from gateway.headers import split, unseal
from gateway.letters import Gate, read_filter, resolve_scope, show
from gateway.parts import Parts, parts
from gateway.query import Query
from gateway.redeliver import redeliver as send_again
from gateway.reissue import read_edit, reissue
from gateway.routes.message import show as show_message
from gateway.routes.message import show_payload
from gateway.routing import AnyOperation, Handler, Operation
from gateway.sent import answered
from gateway.status import as_text
from gateway.window import is_key, read_window_of
from schema import ids
from schema.api_key import Capability
from schema.app import App
from schema.dead_letter import DeadLetter
from schema.errors import BadState, NotFound
from schema.store import dead_letter as store
from schema.store import dead_letter_search as search
from schema.store import message as messages
from schema.store.link import Link
from signer.errors import SignerError

KIND: Final = "Dead letter"
EVERYWHERE: Final = "/api/v1/dead-letter"
ALL: Final = "/api/v1/app/{app_id}/dead-letter"
ONE: Final = f"{ALL}/{{letter_id}}"
MOST_COUNTED: Final = 100_000
_MAX_REASON: Final = 500


def routes() -> list[AnyOperation]:
    """List the operations on dead letters."""
    gate = Gate()
    list_all, count_all = partial(list_letters, gate), partial(count, gate)
    found: list[tuple[str, str, Access, Handler]] = [
        ("GET", ALL, Access.TENANT, list_all),
        ("GET", f"{ALL}/count", Access.TENANT, count_all),
        ("GET", ONE, Access.TENANT, get),
        ("POST", f"{ONE}/redeliver", Access.TENANT, redeliver),
        ("POST", f"{ONE}/discard", Access.TENANT, discard),
        ("POST", f"{ONE}/reissue", Access.OPERATOR, make_anew),
        ("GET", EVERYWHERE, Access.OPERATOR, list_all),
        ("GET", f"{EVERYWHERE}/count", Access.OPERATOR, count_all),
    ]
    return [
        Operation(
            method=method,
            path=path,
            access=access,
            handler=handler,
            capability=Capability.CREATE_ATTEMPTS if handler is redeliver else None,
        )
        for method, path, access, handler in found
    ]


async def list_letters(gate: Gate, request: Request, caller: Caller) -> Response:
    """Give a page of the dead letters of an app, or of all apps."""
    query = Query(request)
    window = read_window_of(request, query, ids.DEAD_LETTER, limited=False)
    app = await resolve_scope(request, caller)
    wanted = await read_filter(request, query, caller, app)
    async with gate.search(parts(request), wanted) as link:
        found = await search.page(link, wanted, window.span)
    shown = envelope(found.letters, window.page, lambda row: row.id, show)
    return answer(shown | _unfinished(found, window.page))


async def count(gate: Gate, request: Request, caller: Caller) -> Response:
    """Count dead letters, exactly up to a limit."""
    query = Query(request)
    app = await resolve_scope(request, caller)
    wanted = await read_filter(request, query, caller, app)
    async with gate.search(parts(request), wanted) as link:
        found = await search.count(link, wanted, MOST_COUNTED)
    return answer({"count": found.number, "atLeast": not found.exact})


async def get(request: Request, caller: Caller) -> Response:
    """Give a letter, whole."""
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.connection() as link:
        letter = await _find(link, request, app)
        reissued = await messages.made_of(link, app.id, letter.id)
    whole = {
        "payload": show_payload(letter.payload),
        "contentType": letter.content_type,
        "headers": _headers(given, letter),
        "response": None if letter.response is None else as_text(letter.response),
        "responseHeaders": answered(letter.response_headers),
        "reissuedAs": reissued,
    }
    return answer(show(letter) | whole)


async def redeliver(request: Request, caller: Caller) -> Response:
    """Send a letter again, with its message id and history; one on its way is left alone."""
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.connection() as link:
        letter = await _find(link, request, app)
    await send_again(given, caller, app, letter)
    async with given.connection() as link:
        letter = await _find(link, request, app)
    return answer(show(letter), 202)


async def make_anew(request: Request, caller: Caller) -> Response:
    """Publish a new message made of a letter: 202 once the stream has it on disk."""
    given = parts(request)
    edit = await read_edit(request)
    app = await resolve_app(request, caller)
    async with given.connection() as link:
        letter = await _find(link, request, app)
    message, target = await reissue(given, caller, app, letter, edit)
    origin = {"letterId": letter.id, "messageId": letter.message_id}
    shown = show_message(message, with_content=True)
    return answer(shown | {"madeOf": origin, "endpointId": target.id}, 202)


async def discard(request: Request, caller: Caller) -> Response:
    """Give a parked letter up; `reason` in the body goes into the audit trail."""
    given = parts(request)
    fields = await read_fields(request, optional=True)
    reason = fields.optional_text("reason", max_length=_MAX_REASON)
    fields.check()
    app = await resolve_app(request, caller)
    async with given.transaction() as link:
        letter = await _find(link, request, app)
        if not await store.discard(link, app.id, letter.id, given.clock()):
            raise BadState(f"The letter is {letter.state}: only a parked one can be discarded.")
        detail = {} if reason is None else {"reason": reason}
        await trail.note(link, given, caller, "dead_letter.discard", letter.id, **detail)
    return nothing()


def _unfinished(found: search.Found, page: Page) -> dict[str, object]:
    """Say where to go on, if the search stopped before it was through."""
    if found.stopped_at is None:
        return {}
    if page.backward:
        return {"prevIterator": f"-{found.stopped_at}", "done": False}
    return {"iterator": found.stopped_at, "done": False}


def _headers(given: Parts, letter: DeadLetter) -> dict[str, object] | None:
    """Show the headers that the endpoint added; None if they cannot be read any more."""
    try:
        headers = unseal(given.vault, letter.app_id, letter.endpoint_id, letter.headers)
    except SignerError:
        return None
    shown, sensitive = split(headers)
    return {"headers": shown, "sensitive": sensitive}


async def _find(link: Link, request: Request, app: App) -> DeadLetter:
    ident: str = request.path_params["letter_id"]
    letter = None
    if is_key(ids.DEAD_LETTER, ident):
        letter = await store.by_id(link, app.id, ident)
    if letter is None:
        raise NotFound(KIND)
    return letter
