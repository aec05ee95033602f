"""Event types as the webhooks of an OpenAPI description, zipped. Pure.

Of each the schema that counts is taken; what it refers to within itself is referred to where it
stands then.
"""

import base64
import io
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from schema.event_type import EventType, counting_version

FILE: Final = "openapi.json"
_OPENAPI: Final = "3.1.0"
_DIALECT: Final = "http://json-schema.org/draft-07/schema#"
_AS_DATA: Final = frozenset({"const", "default", "enum", "example", "examples"})
_ANSWERED: Final = {"2XX": {"description": "It arrived."}}
_URL: Final = "data:application/zip;base64,"


def webhook(event_type: EventType) -> dict[str, Any]:
    """Write an event type as a webhook."""
    operation: dict[str, Any] = {"description": event_type.description, "responses": _ANSWERED}
    if event_type.deprecated:
        operation["deprecated"] = True
    if event_type.group_name is not None:
        operation["x-svix-group-name"] = event_type.group_name
    if event_type.feature_flags:
        operation["x-svix-feature-flags"] = list(event_type.feature_flags)
    schemas = event_type.schemas or {}
    version = counting_version(schemas, event_type.schema_version)
    if version is not None:
        place = f"#/webhooks/{event_type.name}/post/requestBody/content/application~1json/schema"
        schema = _moved(schemas[version], place)
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return {"post": operation}


def url_of(webhooks: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """Put webhooks together, by name; give a URL that holds the zipped description."""
    document = {
        "openapi": _OPENAPI,
        "jsonSchemaDialect": _DIALECT,
        "info": {"title": "Webhooks", "version": "1"},
        "webhooks": dict(webhooks),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        entry = zipfile.ZipInfo(FILE)  # of no time: the same is packed the same
        archive.writestr(entry, orjson.dumps(document), zipfile.ZIP_DEFLATED)
    return _URL + base64.b64encode(packed.getvalue()).decode()


def _moved(schema: object, place: str) -> object:
    """Give a schema that stands at a place of the description, and has no base of its own."""
    if not isinstance(schema, dict):
        return schema
    return _refer({name: value for name, value in schema.items() if name != "$id"}, place)


def _refer(value: object, place: str) -> object:
    if isinstance(value, list):
        return [_refer(item, place) for item in value]
    if not isinstance(value, dict):
        return value
    copy = {name: item if name in _AS_DATA else _refer(item, place) for name, item in value.items()}
    ref = copy.get("$ref")
    if isinstance(ref, str) and (ref == "#" or ref.startswith("#/")):
        copy["$ref"] = place + ref[1:]
    return copy
