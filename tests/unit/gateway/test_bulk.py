"""Bodies of bulk requests, read message by message."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.body import Fields
from gateway.bulk import read_bulk
from gateway.draft import Draft, draft_of, is_plain, plain_draft
from schema.errors import Invalid, RequestFault, TooLarge

MOST = 1_000
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def read(messages: object, *, max_bytes: int = MOST) -> list[Draft | RequestFault]:
    body = json.dumps({"messages": messages}).encode()
    return list(read_bulk(body, max_bytes=max_bytes, now=NOW))


def plain(**other: object) -> dict[str, object]:
    return {"eventType": "a.b", "payload": {"n": 1}} | other


def test_every_message_is_read_with_its_own_fields() -> None:
    full = plain(eventId="e-1", channels=["c"], tags=["t"])

    first, second = read([plain(), full])

    assert first == Draft(
        event_type="a.b", event_id=None, channels=None, tags=None, payload=b'{"n": 1}'
    )
    assert isinstance(second, Draft)
    assert (second.event_id, second.channels, second.tags) == ("e-1", ("c",), ("t",))


def test_a_bad_message_is_named_by_its_place_and_the_others_are_read() -> None:
    good, bad, odd, large = read(
        [plain(), {"eventType": "a b"}, 7, plain(payload={"x": "y" * MOST})]
    )

    assert isinstance(good, Draft)
    assert isinstance(bad, Invalid)
    assert [fault.loc for fault in bad.faults] == [
        ("body", "messages", "[1]", "eventType"),
        ("body", "messages", "[1]", "payload"),
    ]
    assert isinstance(odd, Invalid)
    assert odd.faults[0].loc == ("body", "messages", "[2]")
    assert isinstance(large, TooLarge)


@pytest.mark.parametrize(
    ("body", "msg"),
    [
        (b"{", "unexpected end of data"),
        (b"[]", "an object is expected"),
        (b"{}", "is required"),
        (b'{"messages": null}', "is required"),
        (b'{"messages": {}}', "a list is expected"),
        (b'{"messages": []}', "1 to 1000 messages are expected, not 0"),
        (b'{"messages": [%b]}' % b",".join([b"{}"] * 1_001),
         "1 to 1000 messages are expected, not 1001"),
    ],
)  # fmt: skip
def test_a_body_without_a_list_of_one_to_a_thousand_is_refused(body: bytes, msg: str) -> None:
    with pytest.raises(Invalid) as raised:
        read_bulk(body, max_bytes=MOST, now=NOW)

    assert msg in raised.value.faults[0].msg


def test_a_thousand_are_read() -> None:
    assert len(read([plain()] * 1_000)) == 1_000


@pytest.mark.parametrize("depth", [1, 8, 9, 300, 900])
def test_a_payload_is_cut_out_however_deep_it_nests(depth: int) -> None:
    payload = b'{"a":' * depth + b'["}"]' + b"}" * depth
    item = b'{"other":["}"],"payload": %b ,"eventType":"a"}' % payload
    body = b'{"messages":[%b,%b]}' % (item, item)

    drafts = list(read_bulk(body, max_bytes=len(payload), now=NOW))

    assert [draft.payload for draft in drafts if isinstance(draft, Draft)] == [payload, payload]


TEXTS = st.sampled_from(["a", "a.b", "", "a b", "msg_1", "x" * 256, "x" * 257, "\u00e9", "a\n"])
VALUES = TEXTS | st.none() | st.integers() | st.lists(TEXTS, max_size=2) | st.just({"n": 1})


@given(
    st.dictionaries(
        st.sampled_from(["eventType", "eventId", "payload", "data", "tags", "deliverAt", "more"]),
        VALUES,
    )
)
def test_what_is_taken_as_plain_is_read_as_the_full_reading_has_it(data: dict[str, object]) -> None:
    if not is_plain(data):
        return
    body = json.dumps(data["payload"]).encode()

    quick = plain_draft(data, body, max_bytes=MOST)

    assert quick == draft_of(Fields(data), body, max_bytes=MOST, now=NOW)


def test_the_usual_message_is_plain() -> None:
    assert is_plain(plain())
    assert is_plain(plain(eventId="e-1"))
