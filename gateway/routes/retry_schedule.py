"""When messages of an event type are tried again: `/api/v1/event-type/{name}/retry-schedule`.

The event type's `retryPolicy` in the words of Svix: seconds and nanoseconds apart.
"""

from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer
from gateway.auth import Access, Caller
from gateway.body import TYPE_FAULT, Fields, read_fields
from gateway.parts import parts
from gateway.routes.event_type import ONE, find_seen, lock, name_of
from gateway.routing import AnyOperation, Operation
from schema.retry import MAX_ATTEMPTS, MAX_WAIT_S, RetryPolicy, read_policy
from schema.store import event_type as store

NANOS: Final = 1_000_000_000
_PATH: Final = f"{ONE}/retry-schedule"
_FIELD: Final = "retrySchedule"


def routes() -> list[AnyOperation]:
    """List the operations."""
    return [
        Operation(method="GET", path=_PATH, access=Access.TENANT, handler=get),
        Operation(method="PUT", path=_PATH, access=Access.OPERATOR, handler=put),
    ]


async def get(request: Request, caller: Caller) -> Response:
    """Give the schedule of an event type, archived or not; null if it has none of its own."""
    async with parts(request).connection() as link:
        found = await find_seen(link, caller, name_of(request))
    return answer(_show(found.retry_policy))


async def put(request: Request, caller: Caller) -> Response:
    """Set the schedule of an event type; null takes it away."""
    given = parts(request)
    name = name_of(request)
    fields = await read_fields(request)
    policy = _read(fields)
    fields.check()
    async with given.transaction() as link:
        present = await lock(link, caller, name)
        changed = replace(present, retry_policy=policy, updated_at=given.clock())
        await store.upsert(link, changed)
        await trail.note(link, given, caller, "event_type.update", name)
    return answer(_show(policy))


def _show(policy: RetryPolicy | None) -> dict[str, object]:
    if policy is None:
        return {_FIELD: None}
    waits = (divmod(round(wait_s * NANOS), NANOS) for wait_s in policy.waits_s)
    return {_FIELD: [{"secs": secs, "nanos": nanos} for secs, nanos in waits]}


def _read(fields: Fields) -> RetryPolicy | None:
    """Read a schedule. The caller checks the fields."""
    listed = fields.raw(_FIELD)
    if listed is None:
        return None
    if not isinstance(listed, list):
        fields.fault(_FIELD, "a list is expected", fault_type=TYPE_FAULT)
        return None
    if len(listed) >= MAX_ATTEMPTS:
        fields.fault(_FIELD, f"at most {MAX_ATTEMPTS - 1} waits expected")
        return None
    waits = [_wait_s(fields, place, item) for place, item in enumerate(listed)]
    return None if fields.faults else _policy(fields, waits)


def _wait_s(fields: Fields, place: int, item: object) -> float:
    """Read one wait, in seconds."""
    wait = Fields(item, "body", _FIELD, f"[{place}]")
    wait.require("secs")
    wait.require("nanos")
    secs = wait.optional_integer("secs", minimum=0, maximum=int(MAX_WAIT_S))
    nanos = wait.optional_integer("nanos", minimum=0, maximum=NANOS - 1)
    fields.faults += wait.faults
    return (secs or 0) + (nanos or 0) / NANOS


def _policy(fields: Fields, waits: list[float]) -> RetryPolicy | None:
    try:
        return read_policy(waits)
    except ValueError as error:
        fields.fault(_FIELD, str(error))
        return None
