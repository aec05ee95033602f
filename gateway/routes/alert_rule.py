"""Alert rules: `/api/v1/alert-rule`. When operators are told, and of what, says `schema.alert`.

A rule is shown with `raisedAt`, since when it is raised, and alone with `alerts`, for whom.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.alert_fields import blank, read_rule
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller
from gateway.body import read_fields
from gateway.cursor import envelope, read_page
from gateway.parts import parts
from gateway.routing import AnyOperation, Operation
from schema import ids
from schema.alert import AlertRule, alert_fields, rule_fields
from schema.errors import Conflict, NotFound
from schema.operational import Kind
from schema.store import alert, alert_rule

KIND: Final = "Alert rule"
MOST: Final = 100  # rules of an environment
_ALL: Final = "/api/v1/alert-rule"
_ONE: Final = "/api/v1/alert-rule/{rule_id}"
_SHOWN: Final = 250  # alerts of a rule


def routes() -> list[AnyOperation]:
    """List the operations on alert rules."""
    return [
        Operation(method="GET", path=_ALL, access=Access.OPERATOR, handler=list_rules),
        Operation(method="POST", path=_ALL, access=Access.OPERATOR, handler=create),
        Operation(method="GET", path=_ONE, access=Access.OPERATOR, handler=get),
        Operation(method="PUT", path=_ONE, access=Access.OPERATOR, handler=update),
        Operation(method="PATCH", path=_ONE, access=Access.OPERATOR, handler=patch),
        Operation(method="DELETE", path=_ONE, access=Access.OPERATOR, handler=delete),
    ]


def show(rule: AlertRule) -> dict[str, object]:
    """Give what the API shows of a rule."""
    return rule_fields(rule) | {
        "raisedAt": rule.raised_at,
        "createdAt": rule.created_at,
        "updatedAt": rule.updated_at,
    }


async def list_rules(request: Request, caller: Caller) -> Response:
    """Give a page of the environment's rules, those that it started with first."""
    page = read_page(request, default_ascending=True, check=_is_key)
    async with parts(request).connection() as link:
        rows = await alert_rule.page(
            link, caller.environment_id, bound=page.bound, up=page.scans_up, limit=page.fetch
        )
    return answer(envelope(rows, page, lambda rule: rule.id, show))


async def create(request: Request, caller: Caller) -> Response:
    """Make a rule."""
    given = parts(request)
    fields = await read_fields(request)
    rule = await read_rule(given, blank(given, caller.environment_id), fields, whole=True)
    async with given.transaction() as link:
        if await alert_rule.count(link, caller.environment_id) >= MOST:
            raise Conflict(f"An environment has {MOST} alert rules at most")
        await alert_rule.insert(link, rule)
        await trail.note(link, given, caller, "alert_rule.create", rule.id)
    return answer(show(rule), 201)


async def get(request: Request, caller: Caller) -> Response:
    """Give a rule, and for whom it is raised."""
    rule_id = _id(request)
    async with parts(request).connection() as link:
        rule = _checked(await alert_rule.find(link, caller.environment_id, rule_id))
        rows = await alert_rule.alerts(link, rule, _SHOWN)
        names = await alert.names(link, [row.subject for row in rows])
    alerts = [alert_fields(row, *names[row.subject]) for row in rows]
    return answer(show(rule) | {"alerts": alerts})


async def update(request: Request, caller: Caller) -> Response:
    """Replace a rule."""
    return await _change(request, caller, whole=True)


async def patch(request: Request, caller: Caller) -> Response:
    """Change what the body names."""
    return await _change(request, caller, whole=False)


async def delete(request: Request, caller: Caller) -> Response:
    """Delete a rule; if it is raised, that is told as over."""
    given, rule_id = parts(request), _id(request)
    async with given.transaction() as link:
        rule = _checked(await alert_rule.lock(link, caller.environment_id, rule_id))
        if rule.raised_at is not None:
            await alert.tell(link, rule, Kind.ALERT_CLEARED, (), still=0, now=given.clock())
        await alert_rule.delete(link, rule)
        await trail.note(link, given, caller, "alert_rule.delete", rule.id)
    return nothing()


async def _change(request: Request, caller: Caller, *, whole: bool) -> Response:
    given, rule_id = parts(request), _id(request)
    fields = await read_fields(request)
    async with given.connection() as link:
        present = _checked(await alert_rule.find(link, caller.environment_id, rule_id))
    rule = await read_rule(given, present, fields, whole=whole)
    async with given.transaction() as link:
        _checked(await alert_rule.lock(link, caller.environment_id, rule_id))
        await alert_rule.update(link, rule)
        await trail.note(link, given, caller, "alert_rule.update", rule.id)
    return answer(show(rule))


def _id(request: Request) -> str:
    ident: str = request.path_params["rule_id"]
    if not _is_key(ident):
        raise NotFound(KIND)
    return ident


def _is_key(text: str) -> bool:
    return ids.is_id(ids.ALERT_RULE, text)


def _checked(found: AlertRule | None) -> AlertRule:
    if found is None:
        raise NotFound(KIND)
    return found
