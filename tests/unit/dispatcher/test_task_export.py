"""Event types written as an OpenAPI description: what an import reads out of it again."""

import base64
import io
import zipfile
from datetime import UTC, datetime
from typing import Any

import orjson

from dispatcher.task_export import FILE, url_of, webhook
from gateway.openapi_import import Webhook, parse, webhooks
from schema.event_type import EventType, SchemaMode
from schema.payload_schema import Check

NOW = datetime(2026, 11, 29, tzinfo=UTC)
TREE = {
    "$id": "https://example.com/tree",
    "type": "object",
    "properties": {
        "leaf": {"$ref": "#/definitions/leaf"},
        "branch": {"$ref": "#/definitions/branch"},
    },
    "definitions": {
        "branch": {"properties": {"leaf": {"$ref": "#/definitions/leaf"}}},
        "leaf": {"type": "string", "maxLength": 3},
    },
}


def event_type(name: str = "tree.grown", **other: Any) -> EventType:
    return EventType(
        environment_id="org_1",
        name=name,
        description="It grew.",
        schemas=other.pop("schemas", None),
        archived=False,
        deprecated=other.pop("deprecated", False),
        group_name=other.pop("group_name", None),
        feature_flags=other.pop("feature_flags", None),
        created_at=NOW,
        updated_at=NOW,
        **other,
    )


def read_again(*event_types: EventType) -> list[Webhook]:
    url = url_of((one.name, webhook(one)) for one in event_types)
    packed = base64.b64decode(url.removeprefix("data:application/zip;base64,"))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return webhooks(parse(archive.read(FILE).decode()))


def test_what_is_known_of_an_event_type_comes_back() -> None:
    plain = event_type("a")
    full = event_type("b", deprecated=True, group_name="g", feature_flags=("f",))

    read = read_again(plain, full)

    assert [(one.name, one.description, one.schema) for one in read] == [
        ("a", "It grew.", None),
        ("b", "It grew.", None),
    ]
    assert [(one.deprecated, one.group_name, one.feature_flags) for one in read] == [
        (False, None, None),
        (True, "g", ["f"]),
    ]


def test_the_schema_that_counts_is_taken() -> None:
    one = event_type(schemas={"1": {"title": "first"}, "2": {"title": "second"}})

    assert [found.schema for found in read_again(one)] == [{"title": "second"}]


def test_a_schema_refers_to_itself_wherever_it_stands() -> None:
    [read] = read_again(event_type(schemas={"1": TREE}))

    schema = orjson.dumps(read.schema).decode()
    check = Check(mode=SchemaMode.REJECT, version="1", schema=schema)
    assert check.fault(b'{"leaf": "abc", "branch": {"leaf": "abc"}}') is None
    fault = check.fault(b'{"branch": {"leaf": "abcd"}}')
    assert fault is not None
    assert fault.pointer == "/branch/leaf"


def test_what_only_looks_like_a_reference_is_left_alone() -> None:
    schema = {"const": {"$ref": "#/x"}, "properties": {"$ref": {"examples": [{"$ref": "#"}]}}}

    written = webhook(event_type(schemas={"1": schema}))

    assert written["post"]["requestBody"]["content"]["application/json"]["schema"] == schema
