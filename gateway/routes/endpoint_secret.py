"""The signing secret of an endpoint: `.../endpoint/{endpoint_id}/secret`."""

from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import Fields, read_fields
from gateway.parts import parts
from gateway.routes.endpoint import ONE, find_endpoint, lock_endpoint
from gateway.routing import AnyOperation, Operation
from gateway.secret import current, read_secret, rotate
from schema.api_key import Capability

_SECRET: Final = f"{ONE}/secret"
_GRACE_S: Final = 86_400
_MAX_GRACE_S: Final = 604_800
_FIRST_SDKS: Final = "svix-libs/1."


def routes() -> list[AnyOperation]:
    """List the operations on an endpoint's secret."""
    return [
        Operation(
            method="GET",
            path=_SECRET,
            access=Access.TENANT,
            handler=reveal,
            capability=Capability.VIEW_ENDPOINT_SECRET,
        ),
        Operation(
            method="POST",
            path=f"{_SECRET}/rotate",
            access=Access.TENANT,
            handler=rotate_secret,
            capability=Capability.MANAGE_ENDPOINT_SECRET,
        ),
    ]


async def reveal(request: Request, caller: Caller) -> Response:
    """Give what the receiver verifies with; that it was shown is written down."""
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.transaction() as link:
        endpoint = await find_endpoint(link, request, app)
        secret = await current(link, given, endpoint, given.clock())
        await trail.note(link, given, caller, "endpoint.reveal_secret", endpoint.id)
    return answer({"key": secret.public_text})


async def rotate_secret(request: Request, caller: Caller) -> Response:
    """Give an endpoint another secret; the one before signs too for the grace period.

    Svix's SDKs read the new one from the answer since version 2; one of version 1 takes 204 alone.
    """
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request, optional=True)
    secret = read_secret(fields, "key")
    grace = read_grace(fields)
    fields.check()
    async with given.transaction() as link:
        endpoint = await lock_endpoint(link, request, app)
        await rotate(link, given, endpoint, secret, grace)
        await trail.note(
            link, given, caller, "endpoint.rotate_secret", endpoint.id, grace_s=grace.seconds
        )
    if request.headers.get("user-agent", "").startswith(_FIRST_SDKS):
        return nothing()
    return answer({"key": secret.public_text})


def read_grace(fields: Fields) -> timedelta:
    """Read how long the secret before signs too."""
    asked_s = fields.optional_integer("gracePeriodSeconds", minimum=0, maximum=_MAX_GRACE_S)
    return timedelta(seconds=_GRACE_S if asked_s is None else asked_s)
