"""The collector that the attempts of the caller's environment are exported to.

The collector's headers are shown whole, as whoever compares them with a plan must see them; that
they were shown is audited. To set a collector is to switch the export on.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.ask import ask
from gateway.auth import Access, Caller
from gateway.body import Fields, read_fields
from gateway.headers import read_headers
from gateway.parts import Parts, parts
from gateway.routes.environment_settings import lock_own
from gateway.routing import AnyOperation, Operation
from schema.address import UrlFault
from schema.errors import BadState
from schema.otel import ASK, ASK_S, ENABLED, headers_context, target
from schema.store import environment as environments
from schema.store import otel as store
from schema.store.link import Link
from schema.store.otel import Known

_CONFIG: Final = "/api/v1/management/environment-settings/customer-otel"
_ANSWER_S: Final = ASK_S + 2.0
_HEADERS: Final = "additionalHeaders"


def routes() -> list[AnyOperation]:
    """List the operations on the collector."""
    return [
        Operation(method="GET", path=_CONFIG, access=Access.INSTALLATION, handler=get),
        Operation(method="PUT", path=_CONFIG, access=Access.INSTALLATION, handler=put),
        Operation(method="DELETE", path=_CONFIG, access=Access.INSTALLATION, handler=delete),
        Operation(method="POST", path=f"{_CONFIG}/test", access=Access.INSTALLATION, handler=test),
    ]


async def get(request: Request, caller: Caller) -> Response:
    """Give the collector, and how the export goes; all of it null if there is none."""
    given = parts(request)
    async with given.transaction() as link:
        known = await store.find(link, caller.environment_id)
        if known is not None and known.collector.headers is not None:
            await trail.note(link, given, caller, "otel.reveal_headers", caller.environment_id)
    return answer(_show(given, known))


async def put(request: Request, caller: Caller) -> Response:
    """Set the collector, and export from now on."""
    given = parts(request)
    fields = await read_fields(request)
    url, headers = _read(given, fields)
    fields.check()
    at, sealed = given.clock(), _seal(given, caller, headers)
    async with given.transaction() as link:
        await _switch(link, given, caller, on=True)
        await store.put(link, caller.environment_id, url=url, headers=sealed, at=at)
        await trail.note(
            link, given, caller, "otel.set", caller.environment_id,
            host=urlsplit(url).hostname, names=sorted(headers or ()),
        )  # fmt: skip
    return nothing()


async def delete(request: Request, caller: Caller) -> Response:
    """Export nothing any more; what still waits is forgotten."""
    given = parts(request)
    async with given.transaction() as link:
        await _switch(link, given, caller, on=False)
        await store.delete(link, caller.environment_id)
        await trail.note(link, given, caller, "otel.delete", caller.environment_id)
    return nothing()


async def test(request: Request, caller: Caller) -> Response:
    """Have a span sent now: to the collector that the body has, or else to the one that is set."""
    given = parts(request)
    fields = await read_fields(request, optional=True)
    if fields.raw("otelConfig") is None:
        fields.check()
        url, sealed = await _present(given, caller)
    else:
        config = Fields(fields.raw("otelConfig"), "body", "otelConfig")
        url, headers = _read(given, config)
        config.check()
        sealed = _seal(given, caller, headers)
    question = {
        "environmentId": caller.environment_id,
        "url": url,
        "headers": None if sealed is None else b64encode(sealed).decode(),
    }
    said = await ask(given, ASK, question, wait_s=_ANSWER_S)
    if said["why"] is not None:
        msg = f"The collector did not take a span: {said['why']}"
        raise BadState(msg, code="collector_refused")
    return nothing()


async def _present(given: Parts, caller: Caller) -> tuple[str, bytes | None]:
    async with given.connection() as link:
        known = await store.find(link, caller.environment_id)
    if known is None:
        msg = "There is no collector: set one, or give one in otelConfig."
        raise BadState(msg, code="no_collector")
    return known.collector.url, known.collector.headers


async def _switch(link: Link, given: Parts, caller: Caller, *, on: bool) -> None:
    """Say in the settings whether there is an export."""
    present = await lock_own(link, caller)
    if present.settings.get(ENABLED, False) is not on:
        settings = {**present.settings, ENABLED: on}
        await environments.update(
            link, replace(present, settings=settings, updated_at=given.clock())
        )


def _read(given: Parts, fields: Fields) -> tuple[str, Mapping[str, str] | None]:
    url = fields.text("url", min_length=1)
    try:
        if url:
            target(url, given.config.address_policy)
    except UrlFault as fault:
        fields.fault("url", str(fault))
    headers = read_headers(fields, _HEADERS)
    return url, None if fields.raw(_HEADERS) is None else headers


def _seal(given: Parts, caller: Caller, headers: Mapping[str, str] | None) -> bytes | None:
    if headers is None:
        return None
    context = headers_context(caller.environment_id)
    return given.vault.seal(orjson.dumps(dict(headers)), context=context)


def _show(given: Parts, known: Known | None) -> dict[str, object]:
    """Give the collector as Svix does, and behind it what is ours alone."""
    if known is None:
        return dict.fromkeys(SHOWN) | {"svixManaged": False, "failures": 0, "waiting": 0}
    place, headers = known.collector, None
    if place.headers is not None:
        context = headers_context(place.environment_id)
        headers = orjson.loads(given.vault.open(place.headers, context=context))
    return {
        "url": place.url,
        _HEADERS: headers,
        "svixManaged": False,
        "exportedAt": known.exported_at,
        "failures": known.failures,
        "nextTryAt": known.next_at if known.failures else None,
        "lastError": known.last_error,
        "lastErrorAt": known.last_error_at,
        "waiting": known.waiting,
    }


SHOWN: Final = ("url", _HEADERS, "exportedAt", "nextTryAt", "lastError", "lastErrorAt")
