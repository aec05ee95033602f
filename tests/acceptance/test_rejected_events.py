"""An event that cannot become a message is kept with the reason, and the stream goes on."""

from secrets import token_hex
from typing import Any

import pytest
from svix.api import MessageStatus

from tests.acceptance.conftest import MAX_PAYLOAD_BYTES
from tests.acceptance.world import TYPE, World, until

TOO_LARGE = b'"' + b"x" * MAX_PAYLOAD_BYTES + b'"'


async def _rejected(world: World, mark: str, **query: str) -> list[dict[str, Any]]:
    """Give the rejected events of a test, oldest first."""
    page = await world.http.get("/api/v1/rejected-event", params={"limit": "250", **query})
    return [one for one in page.json()["data"] if one["headers"].get("Mark") == mark][::-1]


async def test_rejected_events_of_every_kind_are_listed_and_the_stream_goes_on(
    world: World,
) -> None:
    app, mark = await world.app(), token_hex(8)
    endpoint = await world.endpoint(app, "/good")
    subject = f"events.{app.id}.{TYPE}"
    bad: list[tuple[str, str, bytes, dict[str, str]]] = [
        ("unknown_app", f"events.nobody-{mark}.{TYPE}", b"{}", {}),
        ("unknown_app", subject, b"{}", {"Hookline-App": f"nobody-{mark}"}),
        ("unknown_app", f"events.{app.uid}.{TYPE}", b"{}", {"Hookline-Environment": "org_none"}),
        ("not_json", subject, b"{", {}),
        ("not_json", subject, b"", {}),
        ("not_json", subject, b'{"a": "\xff"}', {}),
        ("too_large", subject, TOO_LARGE, {}),
        ("bad_subject", f"events.{app.id}", b"{}", {}),
        ("bad_event_type", subject, b"{}", {"Hookline-Event-Type": "with space"}),
        ("bad_event_type", f"events.{app.id}.$" + "x" * 20, b"{}", {}),
        ("bad_message_id", subject, b"{}", {"Hookline-Message-Id": "msg_mine"}),
        ("bad_event_id", subject, b"{}", {"Hookline-Event-Id": "with space"}),
        ("bad_channels", subject, b"{}", {"Hookline-Channels": "eu,not one"}),
        ("bad_tags", subject, b"{}", {"Hookline-Tags": "a,b,c,d,e,f"}),
    ]

    for _, where, body, headers in bad:
        await world.publish_on_nats(where, body, {"Mark": mark, **headers})
    message = await world.publish(app)

    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})
    assert len(world.receiver.requests) == 1

    async def all_listed() -> bool:
        return len(await _rejected(world, mark)) >= len(bad)

    await until(all_listed)
    listed = await _rejected(world, mark)
    assert sorted(one["reason"] for one in listed) == sorted(reason for reason, *_ in bad)
    assert all(one["detail"] for one in listed)
    assert len(await _rejected(world, mark, reason="not_json")) == 3
    [large] = await _rejected(world, mark, reason="too_large")
    whole = (await world.http.get(f"/api/v1/rejected-event/{large['id']}")).json()
    assert whole["body"].encode() == TOO_LARGE
    assert [one.id for one in await world.messages(app, n=1)] == [message.id]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b"[]", 422),
        (b'{"eventType": "a"}', 422),
        (b'{"eventType": "a", "payload": "text"}', 422),
        (b'{"eventType": "with space", "payload": {}}', 422),
        (b'{"eventType": "a", "payload": {"a": %b}}' % TOO_LARGE, 413),
    ],
    ids=["no-json", "no-object", "no-payload", "payload-no-object", "bad-type", "too-large"],
)
async def test_by_http_the_publisher_is_told(world: World, body: bytes, status: int) -> None:
    app = await world.app()

    answered = await world.http.post(f"/api/v1/app/{app.id}/msg", content=body)
    unknown = await world.http.post("/api/v1/app/nobody/msg", content=b'{"eventType": "a"}')

    assert answered.status_code == status
    assert unknown.status_code == 404
    assert (await world.svix.message.list(app.id)).data == []
