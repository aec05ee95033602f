import json

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.splice import spans

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(['"', "\\", '\\"', "}", "{", "[]", '"payload":', "\\u0070ayload", "\u00e9"])
)
NAMES = st.sampled_from(["payload", "data", "pay", "", "payload ", '"payload"', "}", "\u00e9"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)
SPACES = st.text(" \t\n\r", max_size=3)


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """Write an object with any spacing and any repeated and escaped names."""
    members = []
    for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=6)):
        text = json.dumps(
            value, ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.just(1))
        )
        written = json.dumps(name)
        if name == "payload" and draw(st.booleans()):
            written = '"p\\u0061yload"'
        spaces = [draw(SPACES) for _ in range(4)]
        members.append(f"{spaces[0]}{written}{spaces[1]}:{spaces[2]}{text}{spaces[3]}")
    before, inside, after = draw(SPACES), draw(SPACES), draw(SPACES)
    return f"{before}{{{','.join(members) or inside}}}{after}".encode()


@given(objects())
@example(b'{"payload":{"a":"}"},"tags":["}"]}')
@example(b'{"payload":{},"application":{"name":"n"}}')
@example(b'{"payload":{"a":1},"payload":{"b":2}}')
@example(b'{"payload" : -0.5e+3 }')
def test_a_span_holds_exactly_the_value_that_a_parser_gives_the_field(text: bytes) -> None:
    parsed = json.loads(text)

    found = spans(text, ("payload", "data"))

    assert found.keys() == parsed.keys() & {"payload", "data"}
    for name, (start, end) in found.items():
        assert json.loads(text[start:end]) == parsed[name]
        assert text[start:end] == text[start:end].strip(b" \t\n\r")


@pytest.mark.parametrize("depth", [10, 900])
def test_nesting_as_deep_as_the_parser_takes_is_no_limit(depth: int) -> None:
    payload = b'{"a":' * depth + b"1" + b"}" * depth
    text = b'{"payload":' + payload + b',"application":{"name":"x"}}'
    orjson.loads(text)

    start, end = spans(text, ("payload",))["payload"]

    assert text[start:end] == payload


def test_a_megabyte_of_brackets_in_strings_is_read_in_one_go() -> None:
    payload = json.dumps({"text": '{"}' * 300_000}).encode()
    text = b'{"channels":["a"],"payload":' + payload + b',"tags":["}"]}'

    start, end = spans(text, ("payload",))["payload"]

    assert text[start:end] == payload
