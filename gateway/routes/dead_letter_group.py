"""Letters that failed alike: `/api/v1/app/{app_id}/dead-letter-group`; `/api/v1/...` for all apps.

A group is shown as

    id, appId, endpointId, fingerprint, errorClass, responseStatusCode
    sampleLetterId, sampleDetail, sampleResponse    the newest letter, and what was said to it
    parked, redelivering    how many letters are so now
    total                   how often a letter was parked in it
    firstSeenAt, lastSeenAt
    trend                   how many were parked in each of the last 24 hours, the present one last
    state                   open, acknowledged, snoozed or resolved
    stateAt, stateBy        since when, and by which key; null if by itself
    snoozedUntil

Lists take `state`, `endpoint_id`, `error_class` (across an environment also `app_id`), and
`order_by`: `lastSeen` (the default) or `count`, the most first.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer
from gateway.auth import Access, Caller, resolve_app
from gateway.body import Fields, read_fields
from gateway.cursor import Page, envelope, read_page
from gateway.letters import (
    GROUP_PATTERN,
    read_apps,
    read_choices,
    read_endpoints,
    resolve_scope,
)
from gateway.parts import Parts, parts
from gateway.query import Query, read_time
from gateway.routing import AnyOperation, Operation
from gateway.status import as_text
from schema.app import App
from schema.dead_letter import GROUP_MOVES, DeadLetterGroup, ErrorClass, GroupState
from schema.errors import Conflict, NotFound, RequestFault
from schema.store import dead_letter_group as store
from schema.store.dead_letter_group import GroupFilter, GroupSpan, Order

KIND: Final = "Group of dead letters"
EVERYWHERE: Final = "/api/v1/dead-letter-group"
ALL: Final = "/api/v1/app/{app_id}/dead-letter-group"
ONE: Final = f"{ALL}/{{group_id}}"
LONGEST_SNOOZE: Final = timedelta(days=366)
_MAX_REASON: Final = 500
_KEY: Final = re.compile(r"(\d{1,18})\.(dlg_[0-9a-f]{32})\Z", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LAST_US: Final = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_ORDERS: Final = {"lastSeen": Order.LAST_SEEN, "count": Order.COUNT}


def routes() -> list[AnyOperation]:
    """List the operations on groups."""
    return [
        Operation(method="GET", path=ALL, access=Access.TENANT, handler=list_groups),
        Operation(method="GET", path=ONE, access=Access.TENANT, handler=get),
        Operation(method="PATCH", path=ONE, access=Access.TENANT, handler=patch),
        Operation(method="GET", path=EVERYWHERE, access=Access.OPERATOR, handler=list_groups),
    ]


def show(group: DeadLetterGroup) -> dict[str, object]:
    """Give what is shown of a group."""
    return {
        "id": group.id,
        "appId": group.app_id,
        "endpointId": group.endpoint_id,
        "fingerprint": group.fingerprint,
        "errorClass": group.error_class,
        "responseStatusCode": group.status or 0,
        "sampleLetterId": group.letter_id,
        "sampleDetail": group.detail,
        "sampleResponse": None if group.response is None else as_text(group.response),
        "parked": group.parked,
        "redelivering": group.redelivering,
        "total": group.total,
        "firstSeenAt": group.first_seen_at,
        "lastSeenAt": group.last_seen_at,
        "trend": group.trend,
        "state": group.state,
        "stateAt": group.state_at,
        "stateBy": group.state_by,
        "snoozedUntil": group.snoozed_until if group.state is GroupState.SNOOZED else None,
    }


async def list_groups(request: Request, caller: Caller) -> Response:
    """Give a page of the groups of an app, or of all apps."""
    given, query = parts(request), Query(request)
    app = await resolve_scope(request, caller)
    order = _ORDERS[query.choice("order_by", tuple(_ORDERS)) or "lastSeen"]
    page = read_page(request, default_ascending=False, check=_is_key)
    apps = await read_apps(given, query, caller.environment_id) if app is None else (app.id,)
    wanted = GroupFilter(
        environment_id=caller.environment_id,
        app_ids=apps,
        endpoint_ids=await read_endpoints(given, query, app),
        states=read_choices(query, "state", tuple(GroupState)),
        error_classes=read_choices(query, "error_class", tuple(ErrorClass)),
    )
    query.check()
    async with given.connection() as link:
        rows = await store.page(link, wanted, _span(page, order), given.clock())
    return answer(envelope(rows, page, lambda row: _key(row, order), show))


async def get(request: Request, caller: Caller) -> Response:
    """Give a group."""
    app = await resolve_app(request, caller)
    return answer(show(await _find(parts(request), request, app)))


async def patch(request: Request, caller: Caller) -> Response:
    """Say where a group stands; `reason` in the body goes into the audit trail."""
    given = parts(request)
    app = await resolve_app(request, caller)
    group = await _find(given, request, app)
    fields = await read_fields(request)
    state = fields.text("state")
    if state and state not in set(GroupState):
        fields.fault("state", f"must be {' or '.join(GroupState)}")
    until = _read_until(fields, given.clock(), needed=state == GroupState.SNOOZED)
    reason = fields.optional_text("reason", max_length=_MAX_REASON)
    fields.check()
    await _move(given, caller, group, to=GroupState(state), until=until, reason=reason)
    return answer(show(await _find(given, request, app)))


async def _move(
    given: Parts,
    caller: Caller,
    group: DeadLetterGroup,
    *,
    to: GroupState,
    until: datetime | None,
    reason: str | None,
) -> None:
    now = given.clock()
    async with given.transaction() as link:
        present = await store.lock(link, group.app_id, group.id, now)
        if present is None:
            raise NotFound(KIND)
        if to is not present and to not in GROUP_MOVES[present]:
            raise Conflict(f"The group is {present}: it cannot become {to}.")
        if to is present and to is not GroupState.SNOOZED:
            return
        await store.set_state(
            link,
            group.app_id,
            group.id,
            to,
            at=now,
            key_id=caller.key_id,
            snoozed_until=until,
        )
        told = {"reason": reason, "snoozedUntil": until and until.isoformat()}
        await trail.note(
            link,
            given,
            caller,
            "dead_letter_group.update",
            group.id,
            app=group.app_id,
            state=to,
            **{name: value for name, value in told.items() if value is not None},
        )


async def _find(given: Parts, request: Request, app: App) -> DeadLetterGroup:
    ident: str = request.path_params["group_id"]
    group = None
    if GROUP_PATTERN.match(ident):
        async with given.connection() as link:
            group = await store.by_id(link, app.id, ident, given.clock())
    if group is None:
        raise NotFound(KIND)
    return group


def _read_until(fields: Fields, now: datetime, *, needed: bool) -> datetime | None:
    text = fields.optional_text("snoozedUntil")
    if not needed:
        if text is not None:
            fields.fault("snoozedUntil", "goes with the state snoozed")
        return None
    if text is None:
        fields.require("snoozedUntil")
        return None
    try:
        until = read_time("snoozedUntil", text)
    except RequestFault:
        fields.fault("snoozedUntil", "an RFC 3339 time is expected")
        return None
    if not now < until <= now + LONGEST_SNOOZE:
        fields.fault("snoozedUntil", f"must lie in the next {LONGEST_SNOOZE.days} days")
    return until


def _key(group: DeadLetterGroup, order: Order) -> str:
    seen_us = (group.last_seen_at - _EPOCH) // _MICROSECOND
    return f"{group.parked if order is Order.COUNT else seen_us}.{group.id}"


def _is_key(text: str) -> bool:
    found = _KEY.match(text)
    return found is not None and int(found[1]) < _LAST_US


def _span(page: Page, order: Order) -> GroupSpan:
    behind: tuple[datetime | int, str] | None = None
    if page.iterator is not None:
        number, _, ident = page.iterator.partition(".")
        value = int(number) % 2**31 if order is Order.COUNT else _EPOCH + int(number) * _MICROSECOND
        behind = value, ident
    return GroupSpan(order=order, behind=behind, up=page.scans_up, limit=page.fetch)
