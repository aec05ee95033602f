"""Which dead letters or groups of them a query means, and how they are shown.

Every list, count and export takes

    state            parked (the default), redelivering, redelivered, discarded; or all
    app_id           across an environment only
    endpoint_id, event_types, reason, error_class, group
    fault, status_code, status_code_class
    before, after    when it was parked first
    attempts_min, attempts_max
    text             stands in the answer, or in the detail of a fault
    payload_path     a JSON path of Postgres on the payload
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Final

from starlette.requests import Request

from gateway.auth import Caller, names_app, resolve_app
from gateway.parts import Parts, parts
from gateway.query import Query
from gateway.status import read_code_class
from gateway.window import is_key
from schema import event, ids
from schema.app import App
from schema.dead_letter import DeadLetter, ErrorClass, LetterState
from schema.delivery import Fault, Reason
from schema.errors import FieldFault, Invalid, NotFound, Overload, RequestFault
from schema.store import dead_letter_search, endpoint
from schema.store.dead_letter import Filter
from schema.store.link import Link

GROUP_PATTERN: Final = re.compile(r"dlg_[0-9a-f]{32}\Z")
FILTERS: Final = frozenset(
    {"state", "app_id", "endpoint_id", "event_types", "reason", "error_class", "group", "fault"}
    | {"status_code", "status_code_class", "before", "after", "attempts_min", "attempts_max"}
    | {"text", "payload_path"}
)
ALL: Final = "all"
AT_ONCE: Final = 2  # searches of a gateway that look into letters
WAIT_S: Final = 2.0  # of others
_MAX_ITEMS: Final = 100  # of a list in a query
_MAX_TEXT: Final = 200
_MAX_PATH: Final = 1_000
_MAX_ATTEMPTS: Final = 2**31 - 1
_STATUSES: Final = (100, 599)


class Gate:
    """Lets few searches at a time look into letters: connections are left for everybody else."""

    def __init__(self) -> None:
        """Start with nobody inside."""
        self._places = asyncio.Semaphore(AT_ONCE)

    @asynccontextmanager
    async def search(self, given: Parts, wanted: Filter) -> AsyncIterator[Link]:
        """Lend a connection to search with.

        Raises:
            Overload: Too many look into letters already.
            Invalid: It takes too long.
        """
        if wanted.is_deep:
            await self._enter()
        try:
            async with given.connection() as link:
                with in_time():
                    yield link
        finally:
            if wanted.is_deep:
                self._places.release()

    async def _enter(self) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                await self._places.acquire()
        except TimeoutError:
            raise Overload("others look into dead letters; try again") from None


async def resolve_scope(request: Request, caller: Caller) -> App | None:
    """Find the app that a path names; None if it names none and means the whole environment."""
    return await resolve_app(request, caller) if names_app(request) else None


async def read_filter(request: Request, query: Query, caller: Caller, app: App | None) -> Filter:
    """Read which letters a query means, of an app or of the caller's environment.

    Raises:
        RequestFault: The query cannot be read.
        Invalid: It can be read and is not as it must be.
        NotFound: It names an app or endpoint that is not there.
    """
    given = parts(request)
    states = read_choices(query, "state", (*LetterState, ALL)) or (LetterState.PARKED,)
    wanted = Filter(
        environment_id=caller.environment_id,
        group_ids=read_list(query, "group", GROUP_PATTERN),
        states=tuple(LetterState) if ALL in states else tuple(LetterState(s) for s in states),
        event_types=read_list(query, "event_types", event.EVENT_TYPE_PATTERN),
        reasons=read_choices(query, "reason", tuple(Reason)),
        error_classes=read_choices(query, "error_class", tuple(ErrorClass)),
        fault=query.choice("fault", tuple(Fault)),
        statuses=_statuses(query),
        before=query.time("before"),
        after=query.time("after"),
        least_attempts=query.integer("attempts_min", minimum=0, maximum=_MAX_ATTEMPTS),
        most_attempts=query.integer("attempts_max", minimum=0, maximum=_MAX_ATTEMPTS),
        text=_short(query, "text", _MAX_TEXT),
        path=_short(query, "payload_path", _MAX_PATH),
        app_ids=None if app is None else (app.id,),
    )
    query.check()
    return await _with_references(given, query, wanted, app)


async def _with_references(given: Parts, query: Query, wanted: Filter, app: App | None) -> Filter:
    """Add to a filter what must be looked up."""
    apps = wanted.app_ids
    if app is None:
        apps = await read_apps(given, query, wanted.environment_id)
    endpoints = await read_endpoints(given, query, app)
    if wanted.path is not None:
        async with given.connection() as link:
            fault = await dead_letter_search.path_fault(link, wanted.path)
        if fault is not None:
            query.fault("payload_path", fault)
    query.check()
    return replace(wanted, app_ids=apps, endpoint_ids=endpoints)


async def read_apps(given: Parts, query: Query, environment_id: str) -> tuple[str, ...] | None:
    """Read the apps that a query names by ids or uids.

    Raises:
        NotFound: There is none such.
    """
    refs = read_list(query, "app_id", event.UID_PATTERN)
    query.check()
    if refs is None:
        return None
    return tuple([(await given.apps.find(environment_id, ref)).id for ref in refs])


async def read_endpoints(given: Parts, query: Query, app: App | None) -> tuple[str, ...] | None:
    """Read the endpoints that a query names: by ids, of deleted ones too; within an app by uids.

    Raises:
        NotFound: There is none such.
    """
    refs = read_list(query, "endpoint_id", event.UID_PATTERN)
    unknown = [ref for ref in refs or () if not is_key(ids.ENDPOINT, ref)]
    if unknown and app is None:
        query.fault("endpoint_id", "across apps, endpoints go by their ids")
    query.check()
    if refs is None or app is None or not unknown:
        return refs
    async with given.connection() as link:
        return tuple([await _endpoint_id(link, app, ref) for ref in refs])


def read_choices(query: Query, name: str, choices: tuple[str, ...]) -> tuple[str, ...] | None:
    """Read a list of some words.

    Raises:
        RequestFault: There is another among them.
    """
    found = query.texts(name)
    if found is not None and not set(found) <= set(choices):
        raise RequestFault(f"The query parameter {name} must be {' or '.join(choices)}.")
    return found


def read_list(query: Query, name: str, pattern: re.Pattern[str]) -> tuple[str, ...] | None:
    """Read a list of texts, not too many."""
    found = query.texts(name, pattern=pattern)
    if found is not None and len(found) > _MAX_ITEMS:
        query.fault(name, f"at most {_MAX_ITEMS}")
    return found


@contextmanager
def in_time() -> Iterator[None]:
    """Turn what takes too long into what to do about it.

    Raises:
        Invalid: It did.
    """
    try:
        yield
    except TimeoutError:
        hint = "this takes too long: name an app, an endpoint, a group or a shorter time"
        raise Invalid([FieldFault(loc=("query",), msg=hint)]) from None


def show(letter: DeadLetter) -> dict[str, object]:
    """Give what lists show of a letter."""
    return {
        "id": letter.id,
        "appId": letter.app_id,
        "messageId": letter.message_id,
        "endpointId": letter.endpoint_id,
        "eventType": letter.event_type,
        "eventId": letter.event_id,
        "channels": letter.channels,
        "state": letter.state,
        "reason": letter.reason,
        "errorClass": letter.error_class,
        "fault": letter.fault,
        "responseStatusCode": letter.status or 0,
        "detail": letter.detail,
        "fingerprint": letter.fingerprint,
        "groupId": letter.group_id,
        "url": letter.url,
        "payloadBytes": letter.payload_bytes,
        "attempts": letter.attempts,
        "firstAttemptAt": letter.first_attempt_at,
        "lastAttemptAt": letter.last_attempt_at,
        "lastAttemptId": letter.last_attempt_id,
        "messageAt": letter.message_at,
        "parkedAt": letter.parked_at,
        "updatedAt": letter.updated_at,
    }


def _statuses(query: Query) -> tuple[int, int] | None:
    least, most = _STATUSES
    status = query.integer("status_code", minimum=least, maximum=most)
    of_class = read_code_class(query)
    if status is not None and of_class is not None:
        query.fault("status_code", "goes without status_code_class")
    return of_class if status is None else (status, status)


def _short(query: Query, name: str, most: int) -> str | None:
    found = query.text(name)
    if found is not None and len(found) > most:
        query.fault(name, f"must have at most {most} characters")
    return found


async def _endpoint_id(link: Link, app: App, ref: str) -> str:
    if is_key(ids.ENDPOINT, ref):
        return ref
    found = await endpoint.find(link, app.id, ref)
    if found is None:
        raise NotFound("Endpoint")
    return found.id
