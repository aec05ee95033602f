"""Messages as requests give them: for later, for a while, raw."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.body import parse_published
from gateway.draft import Draft, read_draft
from schema import event
from schema.errors import Invalid, TooLarge

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def read(**other: object) -> Draft:
    data = {"eventType": "a.b", "payload": {"n": 1}} | other
    body = json.dumps(data).encode()
    return read_draft(parse_published(body), max_bytes=100, now=NOW)


def fault_of(**other: object) -> str:
    with pytest.raises(Invalid) as raised:
        read(**other)
    [fault] = raised.value.faults
    return ".".join(fault.loc)


@pytest.mark.parametrize(
    "ahead", [timedelta(minutes=1), timedelta(seconds=57), timedelta(hours=24)]
)
def test_a_message_may_be_for_later(ahead: timedelta) -> None:
    assert read(deliverAt=(NOW + ahead).isoformat()).deliver_at == NOW + ahead


@pytest.mark.parametrize(
    "ahead", [timedelta(seconds=50), timedelta(0), timedelta(hours=-1), timedelta(hours=25)]
)
def test_it_may_not_be_for_now_or_for_days_ahead(ahead: timedelta) -> None:
    assert fault_of(deliverAt=(NOW + ahead).isoformat()) == "body.deliverAt"


@pytest.mark.parametrize(
    ("given", "hours"),
    [
        ({"payloadRetentionPeriod": 5}, "120"),
        ({"payloadRetentionHours": 2160}, "2160"),
        ({"payloadRetentionHours": 1, "payloadRetentionPeriod": 90}, "1"),
    ],
)
def test_a_payload_is_kept_for_hours_or_days_and_hours_go_first(
    given: dict[str, int], hours: str
) -> None:
    assert read(**given).headers == {event.PAYLOAD_HOURS: hours}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("payloadRetentionHours", 0),
        ("payloadRetentionHours", 2161),
        ("payloadRetentionPeriod", 0),
        ("payloadRetentionPeriod", 91),
    ],
)
def test_it_is_not_kept_for_no_time_or_for_ever(field: str, value: int) -> None:
    assert fault_of(**{field: value}) == f"body.{field}"


def test_a_raw_payload_takes_the_payloads_place() -> None:
    params = {"rawPayload": "<a\u00e9/>", "headers": {"Content-Type": "text/xml"}, "mine": 1}

    draft = read(transformationsParams=params)

    assert draft.payload == "<a\u00e9/>".encode()
    assert draft.is_raw
    told = draft.headers[event.PARAMS]
    assert json.loads(told) == {"headers": {"Content-Type": "text/xml"}, "mine": 1}
    assert draft.headers == {event.RAW: "1", event.CONTENT_TYPE: "text/xml", event.PARAMS: told}


def test_other_parameters_are_told_to_transformations_and_change_nothing_else() -> None:
    draft = read(transformationsParams={"mine": "\u00e9\n"})

    assert draft.headers == {event.PARAMS: '{"mine":"\\u00e9\\n"}'}
    assert replace(draft, headers=None) == read()
    assert read(transformationsParams={}) == read()


def test_parameters_are_bounded_as_they_travel() -> None:
    most = "x" * (event.MAX_PARAMS_BYTES - len('{"mine":""}'))

    assert read(transformationsParams={"mine": most}).headers is not None
    assert fault_of(transformationsParams={"mine": most + "x"}) == "body.transformationsParams"


@pytest.mark.parametrize(
    "params",
    [
        {"rawPayload": {"n": 1}},
        {"rawPayload": "x", "headers": {"content-type": "a\nb"}},
        {"rawPayload": "x", "headers": {"x-mine": "1"}},
        "rawPayload",
    ],
)
def test_a_raw_payload_is_a_text_with_a_content_type_at_most(params: object) -> None:
    assert fault_of(transformationsParams=params) == "body.transformationsParams"


def test_a_raw_payload_is_measured_as_it_is_sent() -> None:
    with pytest.raises(TooLarge):
        read(transformationsParams={"rawPayload": "\u00e9" * 51})
