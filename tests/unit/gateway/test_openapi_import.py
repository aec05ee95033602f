"""Webhooks are read out of OpenAPI descriptions, whoever wrote them."""

import json
from typing import Any

import pytest

from gateway.openapi_import import SpecFault, parse, webhooks
from schema.event_type import SchemaMode
from schema.payload_schema import Check, compiled, schema_faults


def spec(operation: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "webhooks": {"pet.new": {"post": operation}}, **other}


def body(schema: object, **media: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": schema, **media}}
    return {"requestBody": {"content": content}}


def refusal(given: object) -> str:
    with pytest.raises(SpecFault) as raised:
        webhooks(given)
    return str(raised.value)


def test_a_webhook_is_an_event_type() -> None:
    operation = {
        "description": "A pet came",
        "deprecated": True,
        "x-svix-group-name": "pet",
        "x-svix-feature-flags": ["beta"],
        **body({"type": "object"}),
    }

    [found] = webhooks(spec(operation))

    assert (found.name, found.description, found.deprecated) == ("pet.new", "A pet came", True)
    assert (found.group_name, found.feature_flags) == ("pet", ["beta"])
    assert found.schema == {"type": "object"}


def test_yaml_and_older_names_are_read_too_and_times_stay_texts() -> None:
    text = """
openapi: 3.0.3
x-webhooks:
  pet.new:
    post:
      summary: 2026-01-01
      x-svix-feature-flag: beta
      responses: {200: {description: well}}
"""

    [found] = webhooks(parse(text))

    assert (found.description, found.feature_flags, found.schema) == ("2026-01-01", ["beta"], None)


def test_a_schema_brings_what_it_refers_to() -> None:
    schemas = {
        "Pet": {"properties": {"owner": {"$ref": "#/components/schemas/Owner"}}},
        "Owner": {"type": "string", "nullable": True},
        "Other": {},
    }
    given = spec(body({"$ref": "#/components/schemas/Pet"}), components={"schemas": schemas})

    [found] = webhooks(given)

    assert found.schema == {
        "$ref": "#/definitions/Pet",
        "definitions": {
            "Pet": {"properties": {"owner": {"$ref": "#/definitions/Owner"}}},
            "Owner": {"type": ["string", "null"]},
        },
    }
    assert schema_faults(found.schema) is None
    assert compiled('{"$ref": "#/definitions/a~1b", "definitions": {"a/b": {}}}')


def test_what_refers_to_itself_comes_to_an_end() -> None:
    node = {"items": {"$ref": "#/components/schemas/Node"}}
    given = spec(
        body({"$ref": "#/components/schemas/Node"}), components={"schemas": {"Node": node}}
    )

    [found] = webhooks(given)

    assert found.schema is not None
    assert found.schema["definitions"]["Node"] == {"items": {"$ref": "#/definitions/Node"}}


def test_bodies_and_webhooks_may_stand_elsewhere_and_examples_beside_the_schema() -> None:
    operation = {"requestBody": {"$ref": "#/components/requestBodies/Pet"}}
    media = {"schema": {"type": "object"}, "examples": {"one": {"value": {"id": 1}}}}
    components = {
        "pathItems": {"pet": {"post": operation}},
        "requestBodies": {"Pet": {"content": {"application/json": media}}},
    }
    given = {
        "webhooks": {"pet.new": {"$ref": "#/components/pathItems/pet"}},
        "components": components,
    }

    [found] = webhooks(given)

    assert found.schema == {"type": "object", "examples": [{"id": 1}]}


@pytest.mark.parametrize(
    ("media", "within"),
    [
        ({"example": {"id": 1}}, {"examples": [{"id": 2}]}),
        ({"examples": {"one": {"value": {"id": 1}}}}, {}),
        ({}, {"examples": [{"id": 1}]}),
        ({}, {"example": {"id": 1}}),
    ],
)
def test_examples_of_what_a_schema_refers_to_are_its_own(
    media: dict[str, Any], within: dict[str, Any]
) -> None:
    components = {"schemas": {"Pet": {"required": ["id"], **within}}}
    given = spec(body({"$ref": "#/components/schemas/Pet"}, **media), components=components)

    [found] = webhooks(given)

    assert found.schema is not None
    assert found.schema["examples"] == [{"id": 1}]
    assert schema_faults(found.schema) is None
    held = Check(mode=SchemaMode.WARN, version="1", schema=json.dumps(found.schema))
    assert held.fault(b"{}") is not None
    assert held.fault(b'{"id": 1}') is None


@pytest.mark.parametrize("ref", ["https://example.com/pet.json", "#/components/schemas/Pet"])
def test_a_schema_that_leads_elsewhere_or_to_itself_has_no_examples(ref: str) -> None:
    components = {"schemas": {"Pet": {"$ref": "#/components/schemas/Pet"}}}

    [found] = webhooks(spec(body({"$ref": ref}), components=components))

    assert found.schema is not None
    assert "examples" not in found.schema


def test_an_operation_may_say_nothing() -> None:
    [found] = webhooks(spec({}))

    assert (found.name, found.description, found.schema) == ("pet.new", "", None)


def test_what_cannot_be_understood_says_why() -> None:
    round_about = {"pathItems": {"a": {"$ref": "#/components/pathItems/a"}}}

    assert "webhooks" in refusal({"openapi": "3.1.0", "paths": {}})
    assert "object" in refusal([])
    assert "no operation" in refusal({"webhooks": {"a": {}}})
    assert "there is no" in refusal(spec(body({"$ref": "#/components/schemas/None"})))
    assert "fetched" in refusal({"webhooks": {"a": {"$ref": "https://example.com/a"}}})
    assert "circle" in refusal(
        {"webhooks": {"a": {"$ref": "#/components/pathItems/a"}}, "components": round_about}
    )
    with pytest.raises(SpecFault, match="neither"):
        parse("{: [")


def test_a_few_aliases_that_mean_very_much_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    assert "values" in refusal(parse("\n".join(lines)))
    assert "deeper" in refusal(parse("[" * 100 + "]" * 100))
