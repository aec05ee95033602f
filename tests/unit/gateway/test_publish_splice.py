import json

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.splice import compact, item_spans, spans

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


@given(objects())
def test_with_what_a_parser_made_of_it_the_same_is_found(text: bytes) -> None:
    parsed = orjson.loads(text)

    found = spans(text, ("payload", "data"), parsed)

    assert found == spans(text, ("payload", "data"))


@st.composite
def lists(draw: st.DrawFn) -> bytes:
    """Write an object with lists of objects and other things, one of them under `messages`."""
    members = [b'"first":' + draw(objects())]
    for _ in range(draw(st.integers(1, 2))):
        items = draw(st.lists(objects() | st.sampled_from([b"7", b"[1,{}]", b'"]"', b"{}"])))
        space = draw(SPACES).encode()
        written = (space + b"," + space).join(items)
        members.append(b'"messages"%b:%b[%b%b%b]' % (space, space, space, written, space))
    members.append(b'"last":[{}]')
    return b"{" + b", ".join(members) + b"}"


@given(lists())
@example(b'{"messages":[{"payload":{"a":1}}],"messages":[]}')
def test_the_items_of_a_list_are_found_as_if_each_stood_alone(text: bytes) -> None:
    parsed = orjson.loads(text)["messages"]

    found = item_spans(text, "messages", ("payload", "data"), parsed)

    assert len(found) == len(parsed)
    for fields, item in zip(found, parsed, strict=True):
        known = item if isinstance(item, dict) else {}
        assert fields.keys() == known.keys() & {"payload", "data"}
        for name, (start, end) in fields.items():
            assert orjson.loads(text[start:end]) == known[name]
            assert text[start:end] == text[start:end].strip(b" \t\n\r")


PLAIN = st.fixed_dictionaries(
    {"payload": st.dictionaries(NAMES, VALUES, max_size=3)},
    optional={"eventType": st.text(st.characters(exclude_categories=["Cs"])), "eventId": NAMES},
)


@given(st.lists(PLAIN, min_size=1, max_size=5), st.sampled_from(["orjson", "compact", "usual"]))
@example([{"payload": {"payload": {}}}, {"payload": {}}], "orjson")
@example([{"payload": {}, "eventType": '"payload":{}'}], "orjson")
def test_what_is_cut_out_quickly_is_what_is_cut_out_slowly(
    items: list[dict[str, object]], writer: str
) -> None:
    separators = (",", ":") if writer == "compact" else None
    body = json.dumps({"messages": items}, separators=separators).encode()
    body = orjson.dumps({"messages": items}) if writer == "orjson" else body
    parsed = orjson.loads(body)["messages"]

    found = compact(body, "messages", "payload", [item["payload"] for item in parsed])

    slowly = [fields["payload"] for fields in item_spans(body, "messages", ("payload",), parsed)]
    assert found is None or found == [body[start:end] for start, end in slowly]


@pytest.mark.parametrize(
    ("text", "payloads"),
    [
        (b'{"messages":[{"eventType":"a","payload":{"n":1}},{"payload":{}}]}', [b'{"n":1}', b"{}"]),
        (b'{"messages":[{"payload":{"n": 1}}]}', None),
        (b'{"messages":[{"payload":{"n":1},"payload":{"n":1}}]}', None),
        (b'{"messages":[{"p\\u0061yload":{"n":1}}]}', None),
        (b'{"messages":[{"payload":{"payload":1}}]}', None),
        (b'{"messages":[{"payload":{"a\\"payload":{}}}]}', None),
        (b'{"messages":[{"payload":{}}],"messages":[{"payload":{"n":1}}]}', None),
        (b'{"more":[{"payload":{}}],"messages":[{"payload":{}}]}', None),
    ],
)
def test_quickly_only_what_is_written_plainly_is_cut_out(
    text: bytes, payloads: list[bytes] | None
) -> None:
    parsed = orjson.loads(text)["messages"]

    found = compact(text, "messages", "payload", [item["payload"] for item in parsed])

    assert found == payloads


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
