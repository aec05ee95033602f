"""Transformations: `/api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation`.

Code of the endpoint's owner makes the request of each message. It is run here only to see whether
it can be read, and what it would do; never with a message of anybody's.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import TYPE_FAULT, Fields, read_fields
from gateway.parts import Parts, parts
from gateway.routes.endpoint import ONE, find_endpoint, lock_endpoint
from gateway.routing import AnyOperation, Operation
from schema import event
from schema.address import UrlFault, check_url
from schema.api_key import Capability, KeyKind
from schema.endpoint import Endpoint
from schema.environment_settings import Rules
from schema.errors import FieldFault, Forbidden, Invalid, Overload, Unavailable
from schema.header_rules import CONTENT_TYPE, header_faults
from schema.operational import Kind
from schema.store import operational
from schema.store import transformation as store
from schema.transformation import (
    LEAST_CODE,
    METHODS,
    MOST_CODE,
    MOST_NAME,
    MOST_VARIABLE,
    MOST_VARIABLES,
    Transformation,
    variables_context,
)
from transformer.call import Answer, Broken, Call, Crowded, Made, SandboxFault

PATH: Final = f"{ONE}/transformation"
_OWN_TYPE: Final = frozenset({CONTENT_TYPE})
MOST_WAITING: Final = 32  # runs for one app, in a gateway
_MAX_TYPE: Final = 256


def routes() -> list[AnyOperation]:
    """List the operations on an endpoint's transformation."""
    capability = Capability.MANAGE_TRANSFORMATIONS
    return [
        Operation(
            method="GET", path=PATH, access=Access.TENANT, handler=get, capability=capability
        ),
        Operation(
            method="PATCH", path=PATH, access=Access.TENANT, handler=patch, capability=capability
        ),
        Operation(
            method="POST",
            path=f"{PATH}/simulate",
            access=Access.TENANT,
            handler=simulate,
            capability=capability,
            knows_repeats=True,  # it changes nothing
        ),
    ]


async def get(request: Request, caller: Caller) -> Response:
    """Give the transformation; that variables were shown is written down."""
    given = parts(request)
    app = await resolve_app(request, caller)
    await _check_enabled(given, caller)
    async with given.transaction() as link:
        endpoint = await find_endpoint(link, request, app)
        found = await store.find(link, app.id, endpoint.id)
        if found.variables is not None:
            await trail.note(link, given, caller, "endpoint.reveal_variables", endpoint.id)
    return answer(
        {
            "code": found.code,
            "enabled": found.enabled,
            "variables": _opened(given, found),
            "updatedAt": found.updated_at,
        }
    )


async def patch(request: Request, caller: Caller) -> Response:
    """Change what the body names; null clears code and variables.

    Raises:
        Invalid: The code cannot be read, among other faults.
    """
    given = parts(request)
    app = await resolve_app(request, caller)
    await _check_enabled(given, caller)
    fields = await read_fields(request)
    code = fields.optional_text("code", min_length=LEAST_CODE, max_length=MOST_CODE)
    enabled = _read_enabled(fields)
    variables = _read_variables(fields)
    fields.check()
    async with given.connection() as link:
        await find_endpoint(link, request, app)
    if code is not None:
        await _check_code(given, app.id, code)
    async with given.transaction() as link:
        endpoint = await lock_endpoint(link, request, app)
        present = await store.find(link, app.id, endpoint.id)
        changed = replace(
            present,
            code=code if fields.has("code") else present.code,
            enabled=present.enabled if enabled is None else enabled,
            variables=_sealed(given, endpoint, variables)
            if fields.has("variables")
            else present.variables,
            updated_at=given.clock(),
        )
        await store.put(link, changed)
        await operational.note_endpoints(link, Kind.ENDPOINT_UPDATED, [(app.id, endpoint.id, {})])
        await trail.note(
            link,
            given,
            caller,
            "endpoint.set_transformation",
            endpoint.id,
            fields=[name for name in ("code", "enabled", "variables") if fields.has(name)],
            enabled=changed.enabled,
            variables=sorted(variables or {}),
        )
    return nothing()


async def simulate(request: Request, caller: Caller) -> Response:
    """Say which request code makes of a payload; nothing is stored or sent.

    Raises:
        Invalid: The code fails, or what it gives back could not be sent.
    """
    given = parts(request)
    app = await resolve_app(request, caller)
    await _check_enabled(given, caller)
    fields = await read_fields(request)
    code = fields.text("code", min_length=LEAST_CODE, max_length=MOST_CODE)
    event_type = fields.text(
        "eventType", min_length=1, max_length=_MAX_TYPE, pattern=event.EVENT_TYPE_PATTERN
    )
    channels = fields.optional_texts(
        "channels", pattern=event.CHANNEL_PATTERN, max_items=event.MAX_CHANNELS
    )
    fields.require("payload")
    payload = fields.document("payload")
    variables = _read_variables(fields)
    fields.check()
    async with given.connection() as link:
        endpoint = await find_endpoint(link, request, app)
    webhook = {
        "method": METHODS[0],
        "url": endpoint.url,
        "headers": {},
        "eventType": event_type,
        "channels": channels,
        "transformationsParams": {},
        "variables": variables or {},
        "cancel": False,
    }
    made = await _run(
        given,
        Call(
            owner=app.id,
            code=code,
            webhook=orjson.dumps(webhook),
            payload=orjson.dumps(payload),
        ),
    )
    return answer(_shown(given, endpoint, made))


def _shown(given: Parts, endpoint: Endpoint, made: Made) -> dict[str, object]:
    """Give what would be sent, held to the rules as it would be then."""
    url, method, headers = made.url or endpoint.url, made.method or METHODS[0], made.headers or {}
    faults = list(header_faults(headers, besides=_OWN_TYPE))
    if method not in METHODS:
        faults.append("the method must be POST, PUT or PATCH")
    if url != endpoint.url:
        try:
            url = check_url(url, given.config.address_policy).text
        except UrlFault as fault:
            faults.append(f"the URL: {fault}")
    if faults and not made.cancel:
        raise _invalid(f"what the code returned cannot be sent: {faults[0]}")
    return {
        "url": url,
        "method": method,
        "payload": made.payload.decode(errors="replace"),
        "headers": headers,
        "cancel": made.cancel,
    }


async def _check_enabled(given: Parts, caller: Caller) -> None:
    """Keep portals out where the environment has not opened transformations to them.

    Raises:
        Forbidden: It has not.
    """
    if caller.kind is not KeyKind.PORTAL:
        return
    environment = await given.keys.environment(caller.environment_id)
    if environment is None or not Rules.of(environment.settings).transformations:
        raise Forbidden("Transformations are not enabled here (enableTransformations).")


async def _check_code(given: Parts, owner: str, code: str) -> None:
    await _run(given, Call(owner=owner, code=code))


async def _run(given: Parts, call: Call) -> Made:
    """Run code in the sandbox.

    Raises:
        Invalid: It fails.
        Overload: Too many of the app's wait already.
        Unavailable: No code can be run at the moment.
    """
    try:
        made: Answer = await given.sandbox.call(call)
    except Crowded:
        raise Overload("Too much code of this application waits to be run.") from None
    except SandboxFault:
        raise Unavailable("The sandbox of transformations") from None
    if isinstance(made, Broken):
        raise _invalid(str(made))
    return made


def _invalid(text: str) -> Invalid:
    return Invalid([FieldFault(loc=("body", "code"), msg=text)])


def _read_enabled(fields: Fields) -> bool | None:
    if not fields.has("enabled"):
        return None
    if fields.raw("enabled") is None:
        fields.fault("enabled", "true or false is expected", fault_type=TYPE_FAULT)
        return None
    return fields.boolean("enabled")


def _read_variables(fields: Fields) -> Mapping[str, str] | None:
    if fields.raw("variables") is None:
        return None
    variables = fields.text_map("variables")
    if len(variables) > MOST_VARIABLES:
        fields.fault("variables", f"at most {MOST_VARIABLES} expected")
    if any(len(name) > MOST_NAME for name in variables):
        fields.fault("variables", f"names have at most {MOST_NAME} characters")
    if any(len(value) > MOST_VARIABLE for value in variables.values()):
        fields.fault("variables", f"values have at most {MOST_VARIABLE} characters")
    return variables


def _sealed(given: Parts, endpoint: Endpoint, variables: Mapping[str, str] | None) -> bytes | None:
    if variables is None:
        return None
    context = variables_context(endpoint.app_id, endpoint.id)
    return given.vault.seal(orjson.dumps(dict(variables)), context=context)


def _opened(given: Parts, found: Transformation) -> Mapping[str, str] | None:
    """Read the variables.

    Raises:
        VaultFault: They cannot be opened.
    """
    if found.variables is None:
        return None
    context = variables_context(found.app_id, found.endpoint_id)
    variables: dict[str, str] = orjson.loads(given.vault.open(found.variables, context=context))
    return variables
