"""Where mails about an app's endpoints go: `/app/{app_id}/alert-email`.

An operator's business: whoever may set it makes us write to that address.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import Fields, read_fields
from gateway.parts import Parts, parts
from gateway.routing import AnyOperation, Operation
from schema.mail import read_addresses
from schema.store import alert_mail as store

_PATH: Final = "/api/v1/app/{app_id}/alert-email"
_EMAIL: Final = "email"
_NO_MAIL: Final = "no mails are sent here: HOOKLINE_SMTP_URL and HOOKLINE_MAIL_FROM are not set"


def routes() -> list[AnyOperation]:
    """List the operations on the address."""
    return [
        Operation(method="GET", path=_PATH, access=Access.OPERATOR, handler=get),
        Operation(method="PATCH", path=_PATH, access=Access.OPERATOR, handler=patch),
    ]


async def get(request: Request, caller: Caller) -> Response:
    """Give where mails go, be it that the app's metadata say so; null: there are none."""
    app = await resolve_app(request, caller)
    async with parts(request).connection() as link:
        email = await store.email(link, app.id)
    return answer({_EMAIL: email})


async def patch(request: Request, caller: Caller) -> Response:
    """Say where mails go; null: where the app's metadata say, if anywhere."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    email = _read(given, fields)
    fields.check()
    if fields.has(_EMAIL):
        async with given.transaction() as link:
            await store.set_email(link, app.id, email, given.clock())
            await trail.note(link, given, caller, "app.set_alert_email", app.id, email=email)
    return nothing()


def _read(given: Parts, fields: Fields) -> str | None:
    text = fields.optional_text(_EMAIL)
    if text is None:
        return None
    if not given.config.mails:
        fields.fault(_EMAIL, _NO_MAIL)
    try:
        return ", ".join(read_addresses(text))
    except ValueError as error:
        fields.fault(_EMAIL, str(error))
        return None
