"""Payloads are held to schemas at a cost that a schema bounds, whoever wrote the payload."""

import time
from typing import Any

import orjson
import pytest

from schema.event_type import SchemaMode, counting_version
from schema.payload_schema import MOST_BYTES, UNABLE, Check, SchemaFault, compiled, schema_faults


def fault(schema: object, payload: object) -> Any:
    check = Check(mode=SchemaMode.WARN, version="1", schema=orjson.dumps(schema).decode())
    return check.fault(orjson.dumps(payload))


def refusal(schema: object) -> str:
    with pytest.raises(SchemaFault) as raised:
        compiled(orjson.dumps(schema).decode())
    return str(raised.value)


ITEMS = {"type": "array", "items": {"properties": {"a/b~": {"type": "string"}}}}


def test_a_fault_says_where_it_is_and_which_rule_was_broken_but_not_the_value() -> None:
    found = fault({"properties": {"items": ITEMS}}, {"items": [{}, {"a/b~": 4711}]})

    assert found.pointer == "/items/1/a~1b~0"
    assert found.place == "/items/*/a~1b~0"
    assert found.rule == "type"
    assert "4711" not in str(found)


def test_a_fault_of_the_whole_payload_has_an_empty_pointer() -> None:
    found = fault({"required": ["id"]}, {})

    assert found.pointer == ""
    assert found.rule == "required"
    assert "id" in str(found)


def test_a_raw_payload_that_is_no_json_is_a_fault_and_no_error() -> None:
    check = Check(mode=SchemaMode.REJECT, version="1", schema='{"type": "object"}')

    fault = check.fault(b"<a/>")

    assert fault is not None
    assert (fault.path, fault.detail) == ((), "is no JSON")


def test_a_payload_with_half_a_surrogate_pair_is_held_to_its_schema_too() -> None:
    check = Check(mode=SchemaMode.WARN, version="1", schema='{"required": ["a"]}')

    assert check.fault(b'{"a": "\\ud83d"}') is None
    missing = check.fault(b'{"b": "\\ud83d"}')
    assert missing is not None
    assert missing.rule == "required"


def test_what_is_right_has_no_fault() -> None:
    schema = {"$ref": "#/definitions/order", "definitions": {"order": {"required": ["id"]}}}

    assert fault(schema, {"id": 1}) is None
    assert fault({}, []) is None


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ({"$ref": "#"}, "itself"),
        ({"definitions": {"a": {"items": {"$ref": "#/definitions/a"}}}}, "itself"),
        ({"$ref": "https://example.com/a.json"}, "fetched"),
        ({"$ref": "file:///etc/hostname"}, "fetched"),
        ({"$ref": "#/definitions/none"}, "there is no"),
        ({"items": {"$id": "x", "$ref": "#/definitions/a"}}, "$id"),
        ({"pattern": "(?=a)b"}, "look-around"),
        ({"pattern": "(a)\\1"}, "look-around"),
        ({"pattern": "(a{1000}){1000}"}, "regex"),
        ({"type": "text"}, "not"),
        ({"$schema": "https://example.com/own", "type": "object"}, "meta-schema"),
        ({"description": "x" * MOST_BYTES}, "bytes"),
        ([], "object"),
    ],
)
def test_a_schema_without_bounds_is_not_taken(schema: object, word: str) -> None:
    assert word in refusal(schema)


def test_a_schema_that_unfolds_to_very_much_is_not_taken() -> None:
    layers: dict[str, Any] = {
        f"l{n}": {"allOf": [{"$ref": f"#/definitions/l{n + 1}"}] * 2} for n in range(30)
    }

    assert "unfolds" in refusal({"definitions": layers | {"l30": {}}, "$ref": "#/definitions/l0"})


def test_a_schema_that_nests_very_deep_is_not_taken() -> None:
    schema: dict[str, Any] = {}
    for _ in range(150):
        schema = {"items": schema}

    assert "deeper" in refusal(schema)


def test_a_hostile_text_does_not_make_a_pattern_slow() -> None:
    began = time.perf_counter()

    found = fault({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 500_000 + "!"})

    assert found.rule == "pattern"
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("depth", [300, 1_000])
def test_what_nests_very_deep_is_a_fault_and_holds_nothing_up(depth: int) -> None:
    check = Check(mode=SchemaMode.REJECT, version="1", schema='{"type": "object"}')

    found = check.fault(b"[" * depth + b"]" * depth)

    assert found is not None
    assert found.rule == UNABLE


def test_very_many_names_that_meet_very_many_patterns_are_not_taken() -> None:
    patterns = {f"^a{n}": {} for n in range(100)}

    assert "unfolds" in refusal({"patternProperties": patterns})


def test_only_schemas_of_draft_7_are_schemas() -> None:
    assert schema_faults({"readOnly": 15}) is not None
    assert schema_faults({"type": "object"}) is None


@pytest.mark.parametrize(
    ("versions", "named", "counts"),
    [
        (["1", "2", "10"], None, "10"),
        (["1", "beta"], None, "1"),
        (["alpha", "beta"], None, "beta"),
        (["1", "2"], "1", "1"),
        (["1"], "3", None),
        ([], None, None),
    ],
)
def test_the_highest_version_counts_or_the_named_one(
    versions: list[str], named: str | None, counts: str | None
) -> None:
    assert counting_version({version: {} for version in versions}, named) == counts
