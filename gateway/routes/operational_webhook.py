"""Operational webhooks: `/api/v1/operational-webhook`.

An environment's operational endpoints are the endpoints of its operational app, which has no path
of its own: the operations on endpoints, their attempts and dead letters serve it under these paths,
to operators alone. Svix has `endpoint` with `secret` and `headers`; the rest is ours.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import nothing
from gateway.auth import Access, Caller, lend_app
from gateway.parts import parts
from gateway.routes import attempt, dead_letter, endpoint, endpoint_headers, endpoint_secret
from gateway.routing import AnyOperation, Handler, Operation
from schema.app import App
from schema.operational import app_of

_APP: Final = "/api/v1/app/{app_id}"
_ROOT: Final = "/api/v1/operational-webhook"
_ROTATE: Final = f"{endpoint.ONE}/secret/rotate"
_ATTEMPTS: Final = f"{_APP}/attempt/endpoint/{{endpoint_id}}"
_LETTERS: Final = frozenset(
    {
        dead_letter.ALL,
        f"{dead_letter.ALL}/count",
        dead_letter.ONE,
        f"{dead_letter.ONE}/redeliver",
        f"{dead_letter.ONE}/discard",
    }
)


def routes() -> list[AnyOperation]:
    """List the operations on operational webhooks."""
    lent = (
        *endpoint.routes(),
        *endpoint_secret.routes(),
        *endpoint_headers.routes(),
        *(of_app for of_app in attempt.routes() if of_app.path == _ATTEMPTS),
        *(of_app for of_app in dead_letter.routes() if of_app.path in _LETTERS),
    )
    return [_lent(of_app) for of_app in lent if isinstance(of_app, Operation)]


def _lent(of_app: Operation) -> Operation:
    """Make of an operation on an app's resources one on those of the operational app."""
    handler = _unanswered(of_app.handler) if of_app.path == _ROTATE else of_app.handler
    return Operation(
        method=of_app.method,
        path=of_app.path.replace(_APP, _ROOT),
        access=Access.OPERATOR,
        handler=of_operational_app(handler),
    )


def of_operational_app(handler: Handler) -> Handler:
    """Have a handler of an app's resources work on the operational app."""

    async def handle(request: Request, caller: Caller) -> Response:
        now = parts(request).clock()
        lend_app(
            request,
            App(
                environment_id=caller.environment_id,
                id=app_of(caller.environment_id),
                uid=None,
                name="operational",
                throttle_rate=None,
                retry_policy=None,
                metadata={},
                created_at=now,
                updated_at=now,
                operational=True,
            ),
        )
        return await handler(request, caller)

    return handle


def _unanswered(handler: Handler) -> Handler:
    """Have a handler answer 204, as Svix does here."""

    async def handle(request: Request, caller: Caller) -> Response:
        await handler(request, caller)
        return nothing()

    return handle
