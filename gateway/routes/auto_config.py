"""Endpoints that configure themselves: `/api/v1/app/{app_id}/auto-config`.

By Svix's API. An endpoint is made that awaits its configuration, disabled until then, and with it a
token: where the API is, a key that may do nothing but configure this endpoint, and the endpoint's
secret. Whoever receives the webhooks says by that token where to, and verifies with it.
"""

from base64 import b64encode
from dataclasses import replace
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway import ring, trail
from gateway.answer import answer
from gateway.auth import Access, Caller, resolve_app
from gateway.body import Fields, read_fields
from gateway.endpoint_fields import awaiting, subscribed
from gateway.headers import read_headers, seal
from gateway.parts import Parts, parts
from gateway.routes.endpoint import ONE, add, change, lock_endpoint, show
from gateway.routes.endpoint_secret import read_grace
from gateway.routing import AnyOperation, Operation
from gateway.secret import current, read_secret, rotate
from schema.api_key import ApiKey, Capability, KeyKind, hash_of, issue
from schema.app import App
from schema.endpoint import Endpoint
from schema.errors import NotFound
from schema.store import api_key
from schema.store.link import Link
from signer.secret import SigningSecret, generate

KIND: Final = "Auto-config of this endpoint"
PREFIX: Final = "auto_v1_"
SINKS: Final = ("http",)
_ALL: Final = "/api/v1/app/{app_id}/auto-config"
_ONE: Final = f"{ONE}/auto-config"


def routes() -> list[AnyOperation]:
    """List the operations on endpoints that configure themselves."""
    return [
        Operation(method="POST", path=_ALL, access=Access.TENANT, handler=create),
        Operation(method="GET", path=_ONE, access=Access.TENANT, handler=get),
        Operation(method="PUT", path=_ONE, access=Access.SUBSCRIBER, handler=subscribe),
        Operation(
            method="POST",
            path=f"{_ONE}/rotate",
            access=Access.TENANT,
            handler=rotate_token,
            capability=Capability.MANAGE_ENDPOINT_SECRET,
        ),
    ]


async def create(request: Request, caller: Caller) -> Response:
    """Make an endpoint that awaits its configuration, and the token for that."""
    given = parts(request)
    app = await resolve_app(request, caller)
    endpoint, secret = awaiting(given, app), generate()
    async with given.transaction() as link:
        await add(link, given, caller, app, endpoint=endpoint, secret=secret)
        key, text = await _give_key(link, given, caller, endpoint)
    return answer(_shown(request, key, text, secret), 201)


async def get(request: Request, caller: Caller) -> Response:
    """Say since when an endpoint has its token."""
    app = await resolve_app(request, caller)
    async with parts(request).connection() as link:
        _, key = await _find(link, request, caller, app)
    shown = {"tokenCensored": f"{PREFIX}***{key.hint}", "endpId": key.endpoint_id}
    return answer({**shown, "updatedAt": key.created_at})


async def subscribe(request: Request, caller: Caller) -> Response:
    """Configure the endpoint, all of it; again whenever something is to be otherwise."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await _read_endpoint(request)
    async with given.transaction() as link:
        present, _ = await _find(link, request, caller, app)
        endpoint = subscribed(given, present, fields)
        headers = read_headers(fields)
        if fields.raw("secret") is not None:
            fields.fault("secret", "is the token's: rotate that")
        fields.check()
        endpoint = replace(endpoint, headers=seal(given.vault, app.id, endpoint.id, headers))
        await change(link, given, caller, app, present=present, endpoint=endpoint)
    await ring.ring(given, app.id)
    return answer(show(endpoint))


async def rotate_token(request: Request, caller: Caller) -> Response:
    """Give an endpoint another token, and another secret if asked to; the token before ends."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    asked = fields.raw("signingSecret")
    inner = Fields({} if asked is None else asked, "body", "signingSecret")
    secret, grace = read_secret(inner, "key"), read_grace(inner)
    inner.check()
    fields.check()
    async with given.transaction() as link:
        endpoint, _ = await _find(link, request, caller, app)
        if asked is None:
            secret = await current(link, given, endpoint, given.clock())
        else:
            await rotate(link, given, endpoint, secret, grace)
            what, for_s = "endpoint.rotate_secret", grace.total_seconds()
            await trail.note(link, given, caller, what, endpoint.id, grace_s=for_s)
        key, text = await _give_key(link, given, caller, endpoint)
    given.keys.drop(app.id)
    return answer(_shown(request, key, text, secret), 201)


async def _find(link: Link, request: Request, caller: Caller, app: App) -> tuple[Endpoint, ApiKey]:
    """Find an endpoint that has a token, and keep others from changing it.

    Raises:
        NotFound: There is none such, or it is not the caller's own.
    """
    endpoint = await lock_endpoint(link, request, app)
    key = await api_key.of_endpoint(link, _owner(app), endpoint.id)
    if key is None or caller.endpoint_id not in {None, endpoint.id}:
        raise NotFound(KIND)
    return endpoint, key


async def _give_key(
    link: Link, given: Parts, caller: Caller, endpoint: Endpoint
) -> tuple[ApiKey, str]:
    owner = api_key.Owner(environment_id=caller.environment_id, app_id=endpoint.app_id)
    now = given.clock()
    key, text = issue(
        environment_id=caller.environment_id,
        app_id=endpoint.app_id,
        kind=KeyKind.AUTO_CONFIG,
        at=now,
        feature_flags=caller.feature_flags or (),
        endpoint_id=endpoint.id,
    )
    await api_key.revoke_of_endpoint(link, owner, endpoint.id, now)
    await api_key.create(link, key, hash_of(text))
    await trail.note(link, given, caller, "auto_config.token", endpoint.id, key=key.id)
    return key, text


def _shown(request: Request, key: ApiKey, text: str, secret: SigningSecret) -> dict[str, object]:
    content = {
        "aid": key.app_id,
        "eid": key.endpoint_id,
        "surl": parts(request).config.public_url or str(request.base_url).rstrip("/"),
        "esec": secret.public_text,
        "tok": text,
    }
    token = PREFIX + b64encode(orjson.dumps(content)).decode()
    return {"token": token, "endpId": key.endpoint_id, "updatedAt": key.created_at}


async def _read_endpoint(request: Request) -> Fields:
    """Read what is to be configured: `endpoint`, or the `config` of a `sink`.

    Raises:
        Invalid: There is neither, both, or a sink of another kind.
    """
    fields = await read_fields(request)
    endpoint, sink = fields.raw("endpoint"), fields.raw("sink")
    if (endpoint is None) == (sink is None):
        fields.fault("endpoint", "either this or `sink` is expected")
    fields.check()
    if sink is None:
        return Fields(endpoint, "body", "endpoint")
    inner = Fields(sink, "body", "sink")
    if inner.optional_choice("type", choices=SINKS) is None:
        inner.require("type")
    inner.check()
    return Fields(inner.raw("config"), "body", "sink", "config")


def _owner(app: App) -> api_key.Owner:
    return api_key.Owner(environment_id=app.environment_id, app_id=app.id)
