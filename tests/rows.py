"""Rows that tests put straight into the tables, as the dispatcher would have written them."""

import asyncio
from datetime import UTC, datetime

from schema import ids
from schema.delivery import State
from schema.ids import shard_of
from schema.store.link import Link
from tests.services import SHARDS


def now() -> datetime:
    return datetime.now(UTC)


async def another_moment() -> None:
    """Wait until what is made now has later ids than what was made before."""
    until = now() + ids.MOMENT
    while now() < until:
        await asyncio.sleep(0.001)


async def _insert(link: Link, table: str, columns: dict[str, object]) -> None:
    names = ", ".join(columns)
    places = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    await link.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", *columns.values())


async def message(link: Link, app_id: str, at: datetime | None = None, **other: object) -> str:
    """Store a message; give its id."""
    at = at or now()
    row = {
        "app_id": app_id,
        "id": ids.new_id(ids.MESSAGE, at),
        "event_type": "user.created",
        "event_id": None,
        "payload": b'{"n": 1}',
        "content_type": "application/json",
        "created_at": at,
    } | other
    await _insert(link, "message", row)
    if row["event_id"] is not None:
        known = {"app_id": app_id, "event_id": row["event_id"], "message_id": row["id"]}
        await _insert(link, "message_event_id", known | {"created_at": at})
    return str(row["id"])


async def endpoint(link: Link, app_id: str, **other: object) -> str:
    """Store an endpoint; give its id."""
    at = now()
    row = {
        "app_id": app_id,
        "id": ids.new_id(ids.ENDPOINT, at),
        "url": "https://hooks.example.com/in",
        "state_at": at,
        "created_at": at,
        "updated_at": at,
    } | other
    await _insert(link, "endpoint", row)
    return str(row["id"])


async def delivery(
    link: Link,
    app_id: str,
    message_id: str,
    endpoint_id: str,
    state: State = State.PENDING,
    **other: object,
) -> None:
    """Store a delivery."""
    row = {
        "app_id": app_id,
        "message_id": message_id,
        "endpoint_id": endpoint_id,
        "shard": shard_of(app_id, SHARDS),
        "state": state,
        "due_at": now() if state in {State.PENDING, State.RETRYING} else None,
        "created_at": now(),
    } | other
    await _insert(link, "delivery", row)


async def attempt(
    link: Link,
    app_id: str,
    message_id: str,
    endpoint_id: str,
    status: int | None = 200,
    *,
    at: datetime | None = None,
    **other: object,
) -> str:
    """Store an attempt; without a status it met a refused connection. Give its id."""
    at = at or now()
    delivered = status is not None and 200 <= status < 300
    row = {
        "app_id": app_id,
        "id": ids.new_id(ids.ATTEMPT, at),
        "message_id": message_id,
        "endpoint_id": endpoint_id,
        "event_type": "user.created",
        "number": 1,
        "trigger": 0,
        "verdict": "delivered" if delivered else "retry",
        "url": "https://hooks.example.com/in",
        "status": status,
        "fault": None if status is not None else "connect_refused",
        "detail": "" if status is not None else "nobody listens",
        "started_at": at,
        "duration_ms": 12,
        "response": None if status is None else b"thanks",
        "response_headers": None if status is None else [["content-type", "text/plain"]],
    } | other
    await _insert(link, "attempt", row)
    return str(row["id"])


async def letter(
    link: Link,
    app_id: str,
    message_id: str,
    endpoint_id: str,
    at: datetime | None = None,
    **other: object,
) -> str:
    """Store a dead letter; give its id."""
    at = at or now()
    row = {
        "environment_id": await link.fetchval(
            "SELECT environment_id FROM app WHERE id = $1", app_id
        ),
        "app_id": app_id,
        "id": ids.new_id(ids.DEAD_LETTER, at),
        "message_id": message_id,
        "endpoint_id": endpoint_id,
        "state": "parked",
        "reason": "exhausted",
        "event_type": "user.created",
        "payload": b'{"n": 1}',
        "content_type": "application/json",
        "url": "https://hooks.example.com/in",
        "status": 500,
        "response": b"oh no",
        "response_headers": [["content-type", "text/plain"]],
        "fingerprint": "0123456789abcdef",
        "attempts": 10,
        "message_at": ids.time_of(message_id),
        "first_attempt_at": at,
        "last_attempt_at": at,
        "parked_at": at,
        "updated_at": at,
    } | other
    await _insert(link, "dead_letter", row)
    return str(row["id"])


async def rejected(
    link: Link, environment_id: str | None, at: datetime | None = None, **other: object
) -> str:
    """Store a rejected event; give its id."""
    at = at or now()
    row = {
        "id": ids.new_id(ids.REJECTED_EVENT, at),
        "environment_id": environment_id,
        "app": "nobody",
        "subject": "shard.1.nobody.user.created",
        "headers": {"ce-id": "1"},
        "body": b"{",
        "reason": "not_json",
        "detail": "unexpected end",
        "sequence": 7,
        "created_at": at,
    } | other
    await _insert(link, "rejected_event", row)
    return str(row["id"])
