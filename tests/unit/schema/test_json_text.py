"""JSON with halves of surrogate pairs, against the standard library, which reads it as it is."""

import json
import re

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schema.json_text import MOST_BYTES, MOST_HALVES, read_json

HALVES = st.characters(categories=["Cs"])
TEXTS = st.lists(HALVES | st.sampled_from(["\\", "\\ud83d", '"', "u", "é", "🎉"])).map("".join)


def whole(text: str) -> str:
    """Give a text without halves; two that stand beside each other have become one sign."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


@given(TEXTS, TEXTS, st.booleans())
@example("\ud83d\ud83d\ude00", "\\\ud83d", False)  # noqa: FBT003
def test_each_half_that_stands_alone_is_read_as_an_unknown_sign_and_nothing_else_changes(
    name: str,
    value: str,
    upper: bool,  # noqa: FBT001
) -> None:
    written = json.dumps({"a": name, "b": [value]})
    if upper:
        written = re.sub(r"\\u[0-9a-f]{4}", lambda found: "\\u" + found[0][2:].upper(), written)
    said = json.loads(written)

    read, text = read_json(written.encode())

    assert read == {"a": whole(said["a"]), "b": [whole(said["b"][0])]}
    assert orjson.loads(text) == read
    assert len(text) == len(written)


def test_what_the_parser_takes_is_given_back_itself() -> None:
    written = b'{"a": "\\ud83c\\udf89 \\\\ud83d"}'

    assert read_json(written)[1] is written


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": "\\ud83d"',
        b'{"a": "\\ud8"}',
        b'{"a": "\\ud83d\\',
        b'{"a": "\\ud83d\\uzzzz"}',
        b"\\ud83d",
        b'{"a": "\xed\xa0\x80 \\ud83d"}',
        b'"%b"' % (b"\\ud83d" * (MOST_HALVES + 1)),
        b'"\\ud83d%b"' % (b"x" * MOST_BYTES),
    ],
    ids=range(8),
)
def test_what_is_no_json_otherwise_or_too_much_is_refused(text: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        read_json(text)
