"""Keys that read one poller, and do nothing else: `/api/v1/auth/app/{app_id}/poller`.

By Svix's API, which shows the newest one again: besides its hash it is kept sealed; that it was
shown is audited.
"""

from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer
from gateway.auth import Access, Caller, resolve_app
from gateway.body import read_fields
from gateway.parts import parts
from gateway.routes.key import show_with_text
from gateway.routes.poller import find
from gateway.routing import AnyOperation, Operation
from schema.api_key import Capability, KeyKind, hash_of, issue
from schema.app import App
from schema.endpoint import secret_context
from schema.errors import NotFound
from schema.poller import Poller
from schema.store import api_key
from schema.store import poller as store

KIND: Final = "Key of this poller (make one: POST on its token/rotate)"
MAX_LIFE_S: Final = 31_536_000  # a year
MAX_GRACE_S: Final = 86_400
_TOKEN: Final = "/api/v1/auth/app/{app_id}/poller/{sink_id}/token"  # noqa: S105 a path


def routes() -> list[AnyOperation]:
    """List the operations on keys of pollers."""
    return [
        Operation(
            method="GET",
            path=_TOKEN,
            access=Access.TENANT,
            handler=reveal,
            capability=Capability.VIEW_ENDPOINT_SECRET,
            writes=True,  # whoever has a key may do what it may
        ),
        Operation(
            method="POST",
            path=f"{_TOKEN}/rotate",
            access=Access.TENANT,
            handler=rotate,
            capability=Capability.MANAGE_ENDPOINT_SECRET,
        ),
    ]


async def reveal(request: Request, caller: Caller) -> Response:
    """Give a poller's newest key; that it was shown is written down."""
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.transaction() as link:
        poller = await find(link, request, caller, app)
        key = await api_key.of_poller(link, _owner(app), poller.id, given.clock())
        sealed = await store.sealed_key(link, poller)
        if key is None or sealed is None:
            raise NotFound(KIND)
        text = given.vault.open(sealed, context=_context(poller)).decode()
        await trail.note(link, given, caller, "poller.reveal_key", poller.id)
    return answer(show_with_text(key, text))


async def rotate(request: Request, caller: Caller) -> Response:
    """Give a poller another key; those before end at once, or when the body says."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    life_s = fields.optional_integer("expiry", minimum=1, maximum=MAX_LIFE_S)
    grace_s = fields.optional_integer("oldTokenExpiry", minimum=0, maximum=MAX_GRACE_S) or 0
    fields.check()
    now = given.clock()
    async with given.transaction() as link:
        poller = await find(link, request, caller, app)
        key, text = issue(
            environment_id=app.environment_id,
            app_id=app.id,
            kind=KeyKind.POLLER,
            at=now,
            expires_at=None if life_s is None else now + timedelta(seconds=life_s),
            poller_id=poller.id,
        )
        # First, as it keeps others who rotate waiting: they end this key.
        sealed = given.vault.seal(text.encode(), context=_context(poller))
        await store.set_key(link, poller, sealed)
        await api_key.end_of_poller(link, _owner(app), poller.id, now + timedelta(seconds=grace_s))
        await api_key.create(link, key, hash_of(text))
        await trail.note(link, given, caller, "poller.rotate_key", poller.id, seconds=grace_s)
    given.keys.drop(app.id)
    return answer(show_with_text(key, text), 201)


def _owner(app: App) -> api_key.Owner:
    return api_key.Owner(environment_id=app.environment_id, app_id=app.id)


def _context(poller: Poller) -> bytes:
    return secret_context(poller.app_id, poller.id)
