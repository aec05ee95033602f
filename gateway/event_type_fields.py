"""The fields of an event type in a body: of a new one, of all of one, or of a change."""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import orjson

from gateway.body import Fields
from gateway.common import read_retry_policy
from schema.event import EVENT_TYPE_PATTERN
from schema.event_type import EventType, SchemaMode, counting_version
from schema.payload_schema import SchemaFault, compiled, schema_faults

FLAGS: Final = ("featureFlags", "featureFlag")
_MAX_LENGTH: Final = 256


def read_name(fields: Fields) -> str:
    """Read the name of an event type."""
    return fields.text("name", min_length=1, max_length=_MAX_LENGTH, pattern=EVENT_TYPE_PATTERN)


def fresh(environment_id: str, name: str, fields: Fields, now: datetime) -> EventType:
    """Read a new event type. The caller checks the fields."""
    blank = EventType(
        environment_id=environment_id,
        name=name,
        description="",
        schemas=None,
        archived=False,
        deprecated=False,
        group_name=None,
        feature_flags=None,
        created_at=now,
        updated_at=now,
    )
    return replaced(blank, fields, now)


def replaced(present: EventType, fields: Fields, now: datetime) -> EventType:
    """Read all of an event type; what is ours alone may be left out, and stays. To be checked."""
    event_type = replace(
        present,
        description=fields.text("description"),
        schemas=_read_schemas(fields),
        archived=fields.boolean("archived", default=False),
        deprecated=fields.boolean("deprecated", default=False),
        group_name=_read_group(fields),
        feature_flags=_read_flags(fields),
        updated_at=now,
    )
    return _read_ours(event_type, fields)


def changed(present: EventType, fields: Fields, now: datetime) -> EventType:
    """Read a change to an event type. The caller checks the fields."""
    event_type = present
    if fields.has("description"):
        event_type = replace(event_type, description=fields.text("description"))
    if fields.has("schemas"):
        event_type = replace(event_type, schemas=_read_schemas(fields))
    if fields.has("groupName"):
        event_type = replace(event_type, group_name=_read_group(fields))
    if fields.has(*FLAGS):
        event_type = replace(event_type, feature_flags=_read_flags(fields))
    event_type = replace(
        event_type,
        archived=_read_switch(fields, "archived", present=event_type.archived),
        deprecated=_read_switch(fields, "deprecated", present=event_type.deprecated),
        updated_at=now,
    )
    return _read_ours(event_type, fields)


def why_not_held(event_type: EventType) -> str | None:
    """Say why payloads cannot be held to an event type's schema, or None."""
    version = counting_version(event_type.schemas, event_type.schema_version)
    if event_type.schemas is None or version is None:
        named = event_type.schema_version
        return f"there is no schema of version {named}" if named else "there is no schema"
    try:
        compiled(orjson.dumps(event_type.schemas[version]).decode())
    except SchemaFault as fault:
        return f"version {version}: {fault}"
    return None


def _read_ours(event_type: EventType, fields: Fields) -> EventType:
    """Read what Svix does not have; the SDKs leave it out, so absent leaves it as it is."""
    mode = fields.optional_choice("schemaMode", choices=tuple(SchemaMode))
    if mode is not None:
        event_type = replace(event_type, schema_mode=SchemaMode(mode))
    if fields.has("schemaVersion"):
        version = fields.optional_text("schemaVersion", min_length=1, max_length=_MAX_LENGTH)
        event_type = replace(event_type, schema_version=version)
    policy = read_retry_policy(fields, event_type.retry_policy)
    event_type = replace(event_type, retry_policy=policy)
    if event_type.schema_mode is not SchemaMode.OFF and not event_type.archived:
        why_not = why_not_held(event_type)
        if why_not is not None:
            hint = f"payloads cannot be held to it ({event_type.schema_mode}): {why_not}"
            fields.fault("schemas" if fields.has("schemas") else "schemaMode", hint)
    return event_type


def _read_switch(fields: Fields, name: str, *, present: bool) -> bool:
    return fields.boolean(name) if fields.has(name) else present


def _read_group(fields: Fields) -> str | None:
    return fields.optional_text("groupName", max_length=_MAX_LENGTH, pattern=EVENT_TYPE_PATTERN)


def _read_flags(fields: Fields) -> tuple[str, ...] | None:
    """Read feature flags: a list, or one by its older name."""
    if isinstance(fields.raw(*FLAGS), str):
        one = fields.text(*FLAGS, min_length=1, max_length=_MAX_LENGTH, pattern=EVENT_TYPE_PATTERN)
        return (one,)
    return fields.optional_texts(*FLAGS, pattern=EVENT_TYPE_PATTERN)


def _read_schemas(fields: Fields) -> dict[str, Any] | None:
    """Read JSON Schemas by version, each checked against the schema of schemas."""
    schemas = fields.document("schemas")
    for version, schema in (schemas or {}).items():
        why_not = schema_faults(schema)
        if why_not is not None:
            fields.fault("schemas", f"version {version} is no JSON Schema: {why_not}")
    return schemas
