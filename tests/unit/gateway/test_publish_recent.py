from datetime import UTC, datetime

from gateway.recent import Recent
from schema import ids
from schema.message import Message

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def message(
    *, event_id: str | None = None, payload: bytes = b"{}", app_id: str = "app_1"
) -> Message:
    return Message(
        app_id=app_id,
        id=ids.new_id(ids.MESSAGE, NOW),
        event_type="a",
        event_id=event_id,
        channels=None,
        tags=None,
        payload=payload,
        content_type="application/json",
        created_at=NOW,
    )


def test_a_message_is_found_by_id_and_event_id_in_its_app_only() -> None:
    recent = Recent()
    kept = message(event_id="e")

    recent.add(kept)

    assert recent.get("app_1", kept.id) is kept
    assert recent.get("app_1", "e") is kept
    assert recent.get("app_2", kept.id) is None
    assert recent.get("app_2", "e") is None


def test_the_oldest_goes_when_there_are_too_many_or_too_many_bytes() -> None:
    by_number, by_bytes = Recent(most=2), Recent(most_bytes=25)
    kept = [message(event_id=f"e{n}", payload=b"x" * 10) for n in range(3)]

    for one in kept:
        by_number.add(one)
        by_bytes.add(one)

    for recent in (by_number, by_bytes):
        assert len(recent) == 2
        assert recent.get("app_1", kept[0].id) is None
        assert recent.get("app_1", "e0") is None
        assert recent.get("app_1", "e2") is kept[2]


def test_what_is_old_goes_with_the_next_that_comes() -> None:
    clock = [0.0]
    recent = Recent(kept_s=30, monotonic_s=lambda: clock[0])
    old, new = message(event_id="e"), message()
    recent.add(old)
    clock[0] = 31.0

    recent.add(new)

    assert recent.get("app_1", old.id) is None
    assert recent.get("app_1", "e") is None
    assert recent.get("app_1", new.id) is new


def test_a_forgotten_message_is_gone_by_all_names_and_forgetting_twice_is_nothing() -> None:
    recent = Recent()
    kept = message(event_id="e")
    recent.add(kept)

    recent.forget("app_1", kept.id)
    recent.forget("app_1", kept.id)

    assert len(recent) == 0
    assert recent.get("app_1", "e") is None
