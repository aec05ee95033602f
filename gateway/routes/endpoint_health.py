"""How endpoints fare: `.../endpoint/{endpoint_id}/health`, and `/api/v1/endpoint-health` of all.

What the states mean, and when an endpoint is disabled by itself, says `schema.health`.
"""

from datetime import datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer
from gateway.auth import Access, Caller, resolve_app
from gateway.cursor import Page, envelope, read_page
from gateway.parts import Parts, parts
from gateway.query import Query
from gateway.routes.endpoint import ONE, find_endpoint
from gateway.routing import AnyOperation, Operation
from schema import ids
from schema.endpoint import Endpoint
from schema.environment_settings import Rules
from schema.health import OF_ENDPOINT, HealthState, Patience, Streak, disable_at
from schema.ids import shard_of
from schema.store import health as store
from schema.store.health import Change, Known, Listed, Numbers, Place, Rate

_ALL: Final = "/api/v1/endpoint-health"
_UNWELL: Final = tuple(state for state in HealthState if state is not HealthState.HEALTHY)
_LAST: Final = 2**63 - 1
_DIGITS: Final = 18


def routes() -> list[AnyOperation]:
    """List the operations on the health of endpoints."""
    return [
        Operation(method="GET", path=f"{ONE}/health", access=Access.TENANT, handler=get),
        Operation(
            method="GET", path=f"{ONE}/health/history", access=Access.TENANT, handler=history
        ),
        Operation(method="GET", path=_ALL, access=Access.OPERATOR, handler=list_unwell),
    ]


async def get(request: Request, caller: Caller) -> Response:
    """Say how an endpoint fares, why, what comes of it, and what an outage of it cost."""
    given = parts(request)
    now = given.clock()
    app = await resolve_app(request, caller)
    patience = await _patience(given, app.environment_id)
    async with given.connection() as link:
        endpoint = await find_endpoint(link, request, app)
        place = Place(app.id, endpoint.id)
        found = await store.find(link, place) or _unknown(endpoint)
        outage_at = found.outage_at
        shard = shard_of(app.id, given.config.shards)
        numbers = await store.numbers(link, place, shard=shard, outage_at=outage_at, now=now)
    shown = _show(found, patience) | {
        "last15Minutes": _rate(numbers.recently),
        "last24Hours": _rate(numbers.in_a_day),
        "owed": numbers.owed,
        "dead": numbers.parked,
        "recovery": _recovery(place, found, numbers),
    }
    return answer(shown)


async def history(request: Request, caller: Caller) -> Response:
    """Give a page of an endpoint's changes, newest first."""
    page = read_page(request, default_ascending=False, check=_is_number)
    app = await resolve_app(request, caller)
    async with parts(request).connection() as link:
        endpoint = await find_endpoint(link, request, app)
        rows = await store.history(
            link,
            Place(app.id, endpoint.id),
            bound=_number(page),
            up=page.scans_up,
            limit=page.fetch,
        )
    return answer(envelope(rows, page, lambda change: str(change.number), _show_change))


async def list_unwell(request: Request, caller: Caller) -> Response:
    """Give a page of the endpoints of all apps that are not healthy, newest first."""
    given = parts(request)
    page = read_page(
        request, default_ascending=False, check=lambda key: ids.is_id(ids.ENDPOINT, key)
    )
    states = _states(Query(request))
    patience = await _patience(given, caller.environment_id)
    async with given.connection() as link:
        rows = await store.page(
            link,
            caller.environment_id,
            states,
            bound=page.bound,
            up=page.scans_up,
            limit=page.fetch,
        )
    return answer(
        envelope(
            rows,
            page,
            lambda one: one.known.place.endpoint_id,
            lambda one: _show_listed(one, patience),
        )
    )


def _unknown(endpoint: Endpoint) -> Known:
    """Give what counts for an endpoint of which nothing was ever written."""
    return Known(
        place=Place(endpoint.app_id, endpoint.id),
        state=OF_ENDPOINT.get(endpoint.state, HealthState.HEALTHY),
        at=endpoint.created_at,
        by=None,
        key_id=None,
        reason="",
        streak=None,
        warned_at=None,
        outage_at=None,
    )


def _show(known: Known, patience: Patience) -> dict[str, object]:
    streak = known.streak
    return {
        "appId": known.place.app_id,
        "endpointId": known.place.endpoint_id,
        "state": known.state,
        "since": known.at,
        "by": known.by,
        "keyId": known.key_id,
        "reason": known.reason,
        "failingSince": streak and streak.since,
        "lastFailedAt": streak and streak.last_at,
        "failures": streak.failures if streak else 0,
        "warnedAt": known.warned_at,
        "disableAt": _disable_at(known, streak, patience),
    }


async def _patience(given: Parts, environment_id: str) -> Patience:
    """Say how long endpoints of an environment may fail."""
    config, found = given.config, await given.keys.environment(environment_id)
    if found is not None and not Rules.of(found.settings).disables:
        return Patience.of_days(0, 0)
    return Patience.of_days(config.disable_after_days, config.disable_warning_days)


def _disable_at(known: Known, streak: Streak | None, patience: Patience) -> datetime | None:
    if known.state is not HealthState.FAILING:
        return None
    return disable_at(streak, known.warned_at, patience)


def _show_listed(one: Listed, patience: Patience) -> dict[str, object]:
    names = {"appUid": one.app_uid, "endpointUid": one.endpoint_uid, "url": one.url}
    return _show(one.known, patience) | names


def _show_change(change: Change) -> dict[str, object]:
    return {
        "at": change.at,
        "from": change.was,
        "to": change.state,
        "by": change.by,
        "keyId": change.key_id,
        "reason": change.reason,
    }


def _rate(rate: Rate) -> dict[str, object]:
    tried = rate.delivered + rate.failed
    ratio = round(rate.delivered / tried, 4) if tried else None
    return {"delivered": rate.delivered, "failed": rate.failed, "successRatio": ratio}


def _recovery(place: Place, known: Known, numbers: Numbers) -> dict[str, object] | None:
    """Say what comes back once the endpoint answers again, by itself and if it is asked for."""
    if known.outage_at is None or numbers.lost_since is None:
        return None
    return {
        "outageSince": known.outage_at,
        "retried": numbers.owed,
        "dead": numbers.lost,
        "request": {
            "method": "POST",
            "path": f"/api/v1/app/{place.app_id}/endpoint/{place.endpoint_id}/recover",
            "body": {"since": numbers.lost_since},
        },
    }


def _states(query: Query) -> list[HealthState]:
    named = query.texts("state")
    for name in named or ():
        if name not in _UNWELL:
            query.fault("state", f"must be of {', '.join(_UNWELL)}")
    query.check()
    return [state for state in _UNWELL if named is None or state in named]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS


def _number(page: Page) -> int:
    if page.iterator is not None:
        return int(page.iterator)
    return 0 if page.scans_up else _LAST
