"""Bodies: bounds, and fields that are checked all together."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.body import MAX_DEPTH, Fields, parse
from schema.errors import Invalid

PLAIN = re.compile(r"[a-z]+\Z")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def faults(fields: Fields) -> list[tuple[str, ...]]:
    return [fault.loc for fault in fields.faults]


def test_every_fault_of_a_body_is_found_at_once() -> None:
    fields = Fields({"uid": 7, "rate": 0, "types": ["ok", "NO"], "meta": {"k": 1}, "on": "yes"})

    fields.text("name")
    fields.optional_text("uid")
    fields.optional_integer("rate", minimum=1, maximum=9)
    fields.optional_texts("types", pattern=PLAIN)
    fields.text_map("meta")
    fields.boolean("on", default=False)

    with pytest.raises(Invalid) as raised:
        fields.check()
    assert [fault.loc[1:] for fault in raised.value.faults] == [
        ("name",),
        ("uid",),
        ("rate",),
        ("types", "[1]"),
        ("meta", "k"),
        ("on",),
    ]


def test_the_newer_name_wins_over_the_older_one() -> None:
    fields = Fields({"filterTypes": ["old"], "eventTypes": ["new"]})

    assert fields.optional_texts("eventTypes", "filterTypes", pattern=PLAIN) == ("new",)


def test_the_newer_name_wins_even_as_null() -> None:
    fields = Fields({"rateLimit": 5, "throttleRate": None})

    assert fields.optional_integer("throttleRate", "rateLimit", minimum=1, maximum=9) is None


def test_a_fault_names_the_field_as_it_was_given() -> None:
    fields = Fields({"rateLimit": 0})

    fields.optional_integer("throttleRate", "rateLimit", minimum=1, maximum=9)

    assert faults(fields) == [("body", "rateLimit")]


def test_null_is_told_apart_from_absent_only_when_asked() -> None:
    fields = Fields({"uid": None})

    assert fields.has("uid")
    assert not fields.has("name")
    assert fields.optional_text("uid") is None
    assert faults(fields) == []


def test_true_is_no_number() -> None:
    fields = Fields({"rate": True})

    fields.optional_integer("rate", minimum=1, maximum=9)

    assert faults(fields) == [("body", "rate")]


def test_an_empty_list_is_a_fault_and_repeats_count_once() -> None:
    fields = Fields({"none": [], "twice": ["a", "b", "a"]})

    assert fields.optional_texts("twice", pattern=PLAIN) == ("a", "b")
    fields.optional_texts("none", pattern=PLAIN)
    assert faults(fields) == [("body", "none")]


@pytest.mark.parametrize("text", ["a\x00b", "\x08"])
def test_control_characters_are_refused(text: str) -> None:
    fields = Fields({"name": text, "meta": {"k": text}})

    fields.text("name")
    fields.text_map("meta")

    assert faults(fields) == [("body", "name"), ("body", "meta", "k")]


def test_metadata_is_bounded_as_json() -> None:
    fields = Fields({"meta": {"k": "x" * 100}})

    fields.text_map("meta", max_bytes=100)

    assert faults(fields) == [("body", "meta")]


@pytest.mark.parametrize("data", [None, 1, "x", [1]])
def test_a_body_that_is_no_object_is_one_fault(data: object) -> None:
    fields = Fields(data)

    assert faults(fields) == [("body",)]


def test_a_nested_object_says_where_it_lies() -> None:
    fields = Fields({}, "body", "application")

    fields.text("name")

    assert faults(fields) == [("body", "application", "name")]


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b'{"a":' * 5_000, b"\xff", b"NaN"])
def test_what_is_no_json_is_a_fault_of_the_body(body: bytes) -> None:
    with pytest.raises(Invalid) as raised:
        parse(body)

    assert raised.value.faults[0].loc == ("body",)
    assert raised.value.faults[0].type == "value_error.jsondecode"


def nested(depth: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_a_document_may_nest_so_deep_and_no_deeper() -> None:
    fields = Fields({"fits": nested(MAX_DEPTH), "deep": nested(MAX_DEPTH + 1)})

    assert fields.document("fits") is not None
    assert fields.document("deep") is None
    assert faults(fields) == [("body", "deep")]


def test_a_document_holds_no_nul_anywhere() -> None:
    fields = Fields({"a": {"k": [{"x": "\0"}]}, "b": {"k": {"\0": 1}}})

    fields.document("a")
    fields.document("b")

    assert faults(fields) == [("body", "a"), ("body", "b")]


@given(JSON)
def test_no_json_makes_a_reader_raise(data: object) -> None:
    fields = Fields({"f": parse(json.dumps(data).encode()) if encodable(data) else None})

    fields.text("f")
    fields.optional_text("f", min_length=2, max_length=3, pattern=PLAIN)
    fields.boolean("f")
    fields.optional_integer("f", minimum=1, maximum=2)
    fields.optional_texts("f", pattern=PLAIN, max_items=2)
    fields.text_map("f", max_bytes=10)
    fields.document("f")

    assert all(fault.loc[:2] == ("body", "f") for fault in fields.faults)


def encodable(data: object) -> bool:
    try:
        parse(json.dumps(data).encode())
    except Invalid:  # lone surrogates
        return False
    return True
