"""How an event of the stream is read: as a message to be, or with a reason why it cannot be one."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import ids
from schema.event import (
    DELIVER_AT,
    EVENT_TYPE_PATTERN,
    KEYED,
    MESSAGE_ID,
    PAYLOAD_HOURS,
    RAW,
    Draft,
    Event,
    Rejection,
    publish_subject,
    read_event,
    shard_filters,
)

AT = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
APP = ids.derived_id(ids.APP, AT, b"paid")
MAX_BYTES = 1_000


def event(
    subject: str = f"shard.3.{APP}.invoice.paid",
    headers: Mapping[str, str] | None = None,
    body: bytes = b'{"a": 1}',
    sequence: int = 7,
) -> Event:
    return Event(subject=subject, headers=headers or {}, body=body, sequence=sequence, at=AT)


def read(
    subject: str = f"shard.3.{APP}.invoice.paid",
    headers: Mapping[str, str] | None = None,
    body: bytes = b'{"a": 1}',
) -> Draft | Rejection:
    return read_event(event(subject, headers, body), max_bytes=MAX_BYTES)


def accepted(
    subject: str = f"shard.3.{APP}.invoice.paid",
    headers: Mapping[str, str] | None = None,
    body: bytes = b'{"a": 1}',
) -> Draft:
    found = read(subject, headers, body)
    assert isinstance(found, Draft), found
    return found


def test_subject_and_body_alone_make_a_message() -> None:
    draft = accepted(body=b' {"a":  1}\n')

    assert (draft.app, draft.event_type, draft.body) == (APP, "invoice.paid", b' {"a":  1}\n')
    assert (draft.event_id, draft.channels, draft.tags, draft.environment) == (None,) * 4
    assert (draft.content_type, draft.at, draft.by_gateway) == ("application/json", AT, False)


def test_an_event_without_a_message_id_always_gets_the_same_one() -> None:
    first, again = accepted(), accepted()
    other = read_event(event(sequence=8), max_bytes=MAX_BYTES)

    assert first.message_id == again.message_id
    assert isinstance(other, Draft)
    assert other.message_id != first.message_id
    assert ids.time_of(first.message_id) - AT < timedelta(milliseconds=4)


def test_every_header_is_read() -> None:
    message_id = ids.new_id(ids.MESSAGE, AT)

    draft = accepted(
        headers={
            "Hookline-Message-Id": message_id,
            "Hookline-Event-Id": "e-1",
            "Hookline-Channels": "red, green,,",
            "Hookline-Tags": r"a/b\c#1",
            "Hookline-Environment": "org_x",
            "Hookline-App": "acme.example",
            "Hookline-Event-Type": "user.created",
            "Hookline-Content-Type": "application/cloudevents+json; charset=utf-8",
            "Hookline-Endpoint": f"ep_{'1' * 27}",
            "Hookline-Dead-Letter": f"dl_{'2' * 27}",
            "Nats-Msg-Id": "not ours",
        }
    )

    assert (draft.message_id, draft.event_id, draft.by_gateway) == (message_id, "e-1", True)
    assert (draft.channels, draft.tags) == (("red", "green"), (r"a/b\c#1",))
    assert (draft.environment, draft.app) == ("org_x", "acme.example")
    assert draft.event_type == "user.created"
    assert (draft.endpoint_id, draft.letter_id) == (f"ep_{'1' * 27}", f"dl_{'2' * 27}")
    assert draft.content_type == "application/cloudevents+json; charset=utf-8"


def test_cloud_events_headers_are_understood_and_ours_win() -> None:
    theirs = {"ce-id": "A-1", "ce-type": "com.example.paid", "ce-specversion": "1.0"}
    ours = {"Hookline-Event-Id": "e-1", "Hookline-Event-Type": "paid"}

    by_them, by_us = accepted(headers=theirs), accepted(headers=theirs | ours)

    assert (by_them.event_id, by_them.event_type) == ("A-1", "com.example.paid")
    assert (by_us.event_id, by_us.event_type) == ("e-1", "paid")


@pytest.mark.parametrize(
    "header",
    ["Hookline-Event-Id", "Hookline-Channels", "Hookline-Tags", "Hookline-Environment",
     "Hookline-App", "Hookline-Event-Type", "Hookline-Content-Type", "Hookline-Endpoint",
     "Hookline-Dead-Letter"],
)  # fmt: skip
def test_an_empty_header_is_none(header: str) -> None:
    assert accepted(headers={header: ""}) == accepted()


@pytest.mark.parametrize("given", ["text\0plain", "", "a" * 300, "text/plain\r\nX-Evil: 1", "é"])
def test_a_content_type_that_cannot_be_sent_is_json(given: str) -> None:
    assert accepted(headers={"Hookline-Content-Type": given}).content_type == "application/json"


@pytest.mark.parametrize(
    ("reason", "subject", "headers"),
    [
        ("bad_subject", "events.alone", {}),
        ("bad_subject", "events", {}),
        ("bad_subject", "shard.3.acme", {}),
        ("bad_subject", "shard.3.\ufffd.paid", {}),
        ("bad_subject", f"shard.3.{APP}.paid", {"Hookline-App": "a b"}),
        ("bad_subject", f"shard.3.{APP}.paid", {"Hookline-App": "a\0"}),
        ("bad_subject", f"shard.3.{APP}.paid", {"Hookline-App": "a\n"}),
        ("bad_subject", f"shard.3.{APP}.paid", {"Hookline-App": "a" * 257}),
        ("bad_event_type", f"shard.3.{APP}.a$b", {}),
        ("bad_event_type", f"shard.3.{APP}.{'x' * 257}", {}),
        ("bad_event_type", f"shard.3.{APP}.paid", {"Hookline-Event-Type": "a\0b"}),
        ("bad_event_type", f"shard.3.{APP}.paid", {"ce-type": "a b"}),
        ("bad_event_id", f"shard.3.{APP}.paid", {"Hookline-Event-Id": "a\0"}),
        ("bad_event_id", f"shard.3.{APP}.paid", {"Hookline-Event-Id": "é"}),
        ("bad_event_id", f"shard.3.{APP}.paid", {"ce-id": "a b"}),
        ("bad_event_id", f"shard.3.{APP}.paid", {"Hookline-Event-Id": "x" * 257}),
        ("bad_message_id", f"shard.3.{APP}.paid", {"Hookline-Message-Id": ""}),
        ("bad_message_id", f"shard.3.{APP}.paid", {"Hookline-Message-Id": "msg_1"}),
        ("bad_message_id", f"shard.3.{APP}.paid", {"Hookline-Message-Id": APP}),
        ("bad_message_id", f"shard.3.{APP}.paid", {"Hookline-Message-Id": "msg_" + "z" * 27}),
        ("bad_channels", f"shard.3.{APP}.paid", {"Hookline-Channels": "a b"}),
        ("bad_channels", f"shard.3.{APP}.paid", {"Hookline-Channels": "a\0"}),
        ("bad_channels", f"shard.3.{APP}.paid", {"Hookline-Channels": "x" * 129}),
        ("bad_channels", f"shard.3.{APP}.paid", {"Hookline-Channels": ",".join("abcdefghijk")}),
        ("bad_tags", f"shard.3.{APP}.paid", {"Hookline-Tags": "a:b"}),
        ("bad_tags", f"shard.3.{APP}.paid", {"Hookline-Tags": ",".join("abcdef")}),
    ],
)
def test_what_cannot_be_a_message_is_rejected_with_the_reason(
    reason: str, subject: str, headers: Mapping[str, str]
) -> None:
    found = read(subject, headers)

    assert isinstance(found, Rejection)
    assert found.reason == reason
    assert found.detail


@pytest.mark.parametrize(
    "body",
    [b"", b"hello", b"{", b'{"a": NaN}', b"\xef\xbb\xbf{}", b'{"a": "\xff"}',
     b'{"a": "\xed\xa0\x80"}', b"{}{}", b"\0", b"'a'", b"[1,]", b'{"a": 01}', b"{} x"],
)  # fmt: skip
def test_a_body_that_is_not_json_in_utf_8_is_rejected(body: bytes) -> None:
    found = read(body=body)

    assert isinstance(found, Rejection)
    assert found.reason == "not_json"


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_json_that_is_a_hundred_thousand_deep_is_rejected_and_hurts_nobody(opening: bytes) -> None:
    found = read_event(event(body=opening * 100_000), max_bytes=1_000_000)

    assert isinstance(found, Rejection)
    assert found.reason == "not_json"


@pytest.mark.parametrize(
    "body",
    [b"1", b"null", b'"text"', b"[]", b"\n{}\t", b'{"a":1,"a":2}', b'{"a":"cut \\ud83d"}'],
)
def test_any_json_value_is_taken_as_it_stands(body: bytes) -> None:
    assert accepted(body=body).body == body


def test_the_limit_is_the_size_of_the_body() -> None:
    just = b'"' + b"x" * (MAX_BYTES - 2) + b'"'

    assert accepted(body=just).body == just
    found = read(body=just + b" ")
    assert isinstance(found, Rejection)
    assert found.reason == "too_large"


@pytest.mark.parametrize(("days", "counts"), [(-2, False), (-0.9, True), (0.9, True), (2, False)])
def test_a_producer_s_message_id_must_say_when_it_published(days: float, counts: bool) -> None:  # noqa: FBT001
    message_id = ids.new_id(ids.MESSAGE, AT + timedelta(days=days))

    found = read(headers={"Hookline-Message-Id": message_id})

    assert isinstance(found, Draft) is counts


@given(
    st.text(max_size=80),
    st.dictionaries(
        st.sampled_from(
            ["Hookline-Message-Id", "Hookline-Event-Id", "Hookline-Channels", "Hookline-Tags",
             "Hookline-Environment", "Hookline-App", "Hookline-Event-Type", "ce-id", "ce-type",
             "Hookline-Content-Type", "X"]
        ),
        st.text(max_size=40),
    ),
    st.binary(max_size=40),
)  # fmt: skip
def test_whatever_is_published_is_read_or_rejected(
    tail: str, headers: Mapping[str, str], body: bytes
) -> None:
    for subject in (f"shard.1.{tail}", f"events.{tail}", tail):
        assert isinstance(read(subject, headers, body), Draft | Rejection)


@given(st.from_regex(EVENT_TYPE_PATTERN, fullmatch=True))
def test_what_is_published_for_an_app_is_read_back_whatever_the_event_type(name: str) -> None:
    subject, headers = publish_subject(APP, name)

    tokens = subject.split(".")
    assert all(tokens), "NATS takes no empty token"
    stored = subject.replace("events.", "shard.5.", 1)
    draft = accepted(stored, headers)
    assert (draft.app, draft.event_type) == (APP, name)


def test_shard_0_also_has_the_subjects_that_fit_no_shard() -> None:
    assert shard_filters(0) == ["shard.0.>", "events.>"]
    assert shard_filters(5) == ["shard.5.>"]


def test_a_stray_that_was_never_sharded_is_read_from_where_it_was_published() -> None:
    draft = accepted("events.acme.invoice.paid")

    assert (draft.app, draft.event_type) == ("acme", "invoice.paid")


@pytest.mark.parametrize(
    ("text", "due_at"),
    [
        ("2026-05-06T07:08:10Z", AT + timedelta(seconds=1)),
        ("2026-05-06T09:08:10+02:00", AT + timedelta(seconds=1)),
        ("2026-05-06T07:08:10", AT + timedelta(seconds=1)),
        ("2026-05-07T07:08:39Z", AT + timedelta(days=1, seconds=30)),
        ("2026-05-06T07:08:09Z", None),
        ("2020-01-01T00:00:00Z", None),
    ],
)
def test_an_event_may_be_for_later_and_what_is_over_is_now(
    text: str, due_at: datetime | None
) -> None:
    assert accepted(headers={DELIVER_AT: text}).deliver_at == due_at


@pytest.mark.parametrize(
    ("header", "text", "reason"),
    [
        (DELIVER_AT, "tomorrow", "bad_deliver_at"),
        (DELIVER_AT, "", "bad_deliver_at"),
        (DELIVER_AT, "2026-05-07T07:10:00Z", "bad_deliver_at"),
        (PAYLOAD_HOURS, "", "bad_payload_hours"),
        (PAYLOAD_HOURS, "0", "bad_payload_hours"),
        (PAYLOAD_HOURS, "2161", "bad_payload_hours"),
        (PAYLOAD_HOURS, "1.5", "bad_payload_hours"),
    ],
)
def test_what_cannot_be_read_of_times_is_rejected(header: str, text: str, reason: str) -> None:
    found = read(headers={header: text})

    assert isinstance(found, Rejection)
    assert found.reason == reason


def test_a_payload_may_be_kept_for_some_hours() -> None:
    assert accepted(headers={PAYLOAD_HOURS: "24"}).payload_until == AT + timedelta(days=1)


def test_a_raw_body_need_not_be_json_but_may_not_be_too_large() -> None:
    assert accepted(headers={RAW: "1"}, body=b"\xff{").body == b"\xff{"
    assert isinstance(read(headers={RAW: "1"}, body=b"x" * (MAX_BYTES + 1)), Rejection)


def test_only_an_id_of_the_gateways_can_end_in_a_key() -> None:
    ident = ids.derived_id(ids.MESSAGE, AT, b"key")

    assert accepted(headers={KEYED: "1", MESSAGE_ID: ident}).keyed
    assert not accepted(headers={KEYED: "1"}).keyed
    assert not accepted(headers={MESSAGE_ID: ident}).keyed
