"""Event types out of an OpenAPI description: `/api/v1/event-type/import/openapi`."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer
from gateway.auth import Access, Caller
from gateway.body import Fields, read_fields
from gateway.event_type_fields import fresh, read_name, replaced
from gateway.openapi_import import SpecFault, Webhook, parse, webhooks
from gateway.parts import parts
from gateway.routes.event_type import ALL
from gateway.routing import AnyOperation, Operation
from schema.errors import BadState, FieldFault, Invalid
from schema.event_type import EventType, counting_version
from schema.store import event_type as store
from schema.store.link import Link

MOST: Final = 1_000  # event types of a description
_FIRST_VERSION: Final = "1"
_SPEC: Final = ("spec", "specRaw")


def routes() -> list[AnyOperation]:
    """List the operations."""
    path = f"{ALL}/import/openapi"
    return [Operation(method="POST", path=path, access=Access.OPERATOR, handler=import_openapi)]


async def import_openapi(request: Request, caller: Caller) -> Response:
    """Make and change event types as a description has them; with `dryRun`, say what would be."""
    given = parts(request)
    fields = await read_fields(request)
    dry_run = fields.boolean("dryRun", default=False)
    replace_all = fields.boolean("replaceAll", default=False)
    found = await _read(fields)
    now = given.clock()
    async with given.transaction() as link:
        news = await _news(link, caller.environment_id, found, now)
        if replace_all:
            names = {one.name for one in found}
            news += await _superfluous(link, caller.environment_id, names, now)
        if not dry_run:
            for one in news:
                await store.upsert(link, one)
            told = {"changed": len(news), "replace_all": replace_all}
            await trail.note(link, given, caller, "event_type.import", "openapi", **told)
    shown = [_show(one) for one in news] if dry_run else None
    modified = [] if dry_run else [one.name for one in news]
    return answer({"data": {"modified": modified, "to_modify": shown}})


async def _read(fields: Fields) -> list[Webhook]:
    """Read the webhooks of `spec` or `specRaw`.

    Raises:
        BadState: There is neither, or both.
        Invalid: They cannot be read.
    """
    given = [name for name in _SPEC if fields.raw(name) is not None]
    if len(given) != 1:
        raise BadState("Either `spec` or `specRaw` is expected.")
    spec = fields.raw(given[0])
    if given[0] == "specRaw" and not isinstance(spec, str):
        fields.fault("specRaw", "a text is expected")
    fields.check()
    try:
        # YAML of a megabyte takes its time.
        found = await asyncio.to_thread(_webhooks, spec)
    except SpecFault as fault:
        raise Invalid([FieldFault(loc=("body", given[0]), msg=str(fault))]) from None
    if len(found) > MOST:
        msg = f"at most {MOST} webhooks are expected"
        raise Invalid([FieldFault(loc=("body", given[0]), msg=msg)])
    return found


def _webhooks(spec: object) -> list[Webhook]:
    return webhooks(parse(spec) if isinstance(spec, str) else spec)


async def _news(
    link: Link, environment_id: str, found: Sequence[Webhook], now: datetime
) -> list[EventType]:
    """Give the event types that are to be made or changed.

    Raises:
        Invalid: Some cannot be.
    """
    news, faults = [], []
    for webhook in sorted(found, key=attrgetter("name")):
        present = await store.lock(link, environment_id, webhook.name)
        fields = Fields(_as_body(webhook, present), "body", "webhooks", webhook.name)
        read_name(fields)
        if present is None:
            wanted = fresh(environment_id, webhook.name, fields, now)
        else:
            wanted = replaced(present, fields, now)
        faults += fields.faults
        if present is None or wanted != replace(present, updated_at=now):
            news.append(wanted)
    if faults:
        raise Invalid(faults)
    return news


def _as_body(webhook: Webhook, present: EventType | None) -> dict[str, object]:
    """Write a webhook as an event type; of its schemas the one that counts is replaced."""
    schemas = dict(present.schemas or {}) if present is not None else {}
    if webhook.schema is not None:
        named = None if present is None else present.schema_version
        schemas[counting_version(schemas, named) or _FIRST_VERSION] = webhook.schema
    return {
        "name": webhook.name,
        "description": webhook.description,
        "deprecated": webhook.deprecated,
        "schemas": schemas or None,
        "groupName": webhook.group_name,
        "featureFlags": webhook.feature_flags or None,
    }


async def _superfluous(
    link: Link, environment_id: str, names: set[str], now: datetime
) -> list[EventType]:
    """Give the event types that the description does not have, archived."""
    found, behind = [], ""
    while page := await store.export(link, environment_id, behind=behind, most=MOST):
        found += [one for one in page if one.name not in names and not one.archived]
        behind = page[-1].name
    return [replace(one, archived=True, updated_at=now) for one in found]


def _show(event_type: EventType) -> dict[str, object]:
    return {
        "name": event_type.name,
        "description": event_type.description,
        "schemas": event_type.schemas,
        "deprecated": event_type.deprecated,
        "groupName": event_type.group_name,
        "featureFlags": event_type.feature_flags,
        "archived": event_type.archived,
    }
