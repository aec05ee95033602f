"""The rows of events that cannot become messages (pure)."""

from typing import Final

from schema import ids
from schema.dead_letter import RejectedEvent
from schema.event import APP, ENDPOINT, EVENT_ID, MESSAGE_ID, Draft, Event, Rejection

UNKNOWN_APP: Final = Rejection(reason="unknown_app", detail="no app has this id or uid")
UNKNOWN_ENDPOINT: Final = Rejection(
    reason="unknown_endpoint", detail=f"the app has no endpoint with the id in {ENDPOINT}"
)
_APP_LENGTH: Final = 256  # of an id or uid; an index holds it, and would refuse a whole page


def rejected(event: Event, why: Rejection, environment_id: str | None = None) -> RejectedEvent:
    """Make the row of an event; its environment, if it is known."""
    app = event.subject.split(".", 3)[2:3] if event.subject.startswith("shard.") else []
    return RejectedEvent(
        id=ids.derived_id(ids.REJECTED_EVENT, event.at, f"{event.sequence}".encode()),
        environment_id=environment_id,
        app=_storable(event.headers.get(APP) or "".join(app))[:_APP_LENGTH],
        subject=_storable(event.subject),
        headers={_storable(name): _storable(value) for name, value in event.headers.items()},
        body=event.body,
        reason=why.reason,
        detail=_storable(why.detail),
        sequence=event.sequence,
        created_at=event.at,
    )


def doubled(draft: Draft, *, app_id: str, environment_id: str) -> RejectedEvent:
    """Make the row of a message whose event id was known before."""
    return RejectedEvent(
        id=ids.derived_id(ids.REJECTED_EVENT, draft.at, draft.message_id.encode()),
        environment_id=environment_id,
        app=app_id,
        subject=f"events.{app_id}.{draft.event_type}",
        headers={MESSAGE_ID: draft.message_id, EVENT_ID: draft.event_id or ""},
        body=draft.body,
        reason="duplicate_event_id",
        detail="a message with this event id was accepted before",
        sequence=0,
        created_at=draft.at,
    )


def _storable(text: str) -> str:
    """Postgres's text takes everything but NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
