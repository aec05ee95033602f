"""Many messages in one request: `/api/v1/app/{app_id}/msg/bulk`.

The answer is 202 with what became of each message. If nothing was accepted because too much is
published, or because the stream takes no more or cannot be reached, that is the answer to all.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer
from gateway.auth import Access, Caller, resolve_app
from gateway.body import read_body
from gateway.bulk import FIELD, Accepted, BulkTooLarge, accept_all, read_bulk
from gateway.catalogue import Checks, Judgement, judge
from gateway.draft import Draft
from gateway.idempotency import Key, read_key
from gateway.limits import OverLimit
from gateway.metrics import BULK
from gateway.parts import Parts, parts
from gateway.routing import AnyOperation, Operation
from schema.app import App
from schema.errors import (
    Conflict,
    HooklineError,
    Invalid,
    Overload,
    RequestFault,
    TooLarge,
    Unavailable,
)
from schema.message import Message

_BULK: Final = "/api/v1/app/{app_id}/msg/bulk"
_AGAIN: Final = (OverLimit, Overload, Unavailable)  # may be sent again as they are


def routes() -> list[AnyOperation]:
    """List the operations."""
    return [
        Operation(
            method="POST",
            path=_BULK,
            access=Access.PUBLISHER,
            handler=create,
            knows_repeats=True,
        )
    ]


async def create(request: Request, caller: Caller) -> Response:
    """Accept what can be accepted, and say of each message what became of it."""
    metrics = parts(request).publisher.metrics
    started_s = asyncio.get_running_loop().time()
    try:
        body = await _read_body(request)
        app = await resolve_app(request, caller)
        given, key = parts(request), read_key(request, caller)
        response = await _respond(given, app.id, *await _accept(given, app, body, key))
    except HooklineError as error:
        metrics.refused.labels(error.code).inc()
        raise
    metrics.accept.observe(asyncio.get_running_loop().time() - started_s)
    return response


async def _accept(
    given: Parts, app: App, body: bytes, key: Key | None
) -> tuple[Sequence[Accepted], int]:
    """Give what became of each message, and how many the same request had published before."""
    read = await given.slices.all(
        read_bulk(body, max_bytes=given.config.max_payload_bytes, now=given.clock())
    )
    judged = _judge(app, await given.catalogue.checks(app.environment_id), read)
    for place, one in judged.items():
        if one.refuses:
            read[place] = one.error(("body", FIELD, f"[{place}]"))
    drafts = [one for one in read if isinstance(one, Draft)]
    granted = given.limits.admit(app.id, len(drafts)) if drafts else 0
    published, repeats = await accept_all(given, app.id, drafts[:granted], key)
    accepted: list[Accepted] = list(published)
    if granted < len(drafts):
        accepted += [given.limits.too_fast(app.id)] * (len(drafts) - granted)
    following = iter(accepted)
    outcomes = [next(following) if isinstance(one, Draft) else one for one in read]
    _note(given, judged, outcomes)
    return outcomes, repeats


def _judge(app: App, checks: Checks, read: Sequence[Draft | RequestFault]) -> dict[int, Judgement]:
    """Hold drafts to their event types; give, by place, those with which something is wrong."""
    if not checks:
        return {}
    found = {
        place: judge(app.environment_id, checks, one)
        for place, one in enumerate(read)
        if isinstance(one, Draft)
    }
    return {place: one for place, one in found.items() if one is not None}


def _note(given: Parts, judged: Mapping[int, Judgement], outcomes: Sequence[Accepted]) -> None:
    for place, one in judged.items():
        outcome = outcomes[place]
        if isinstance(outcome, Message):
            given.catalogue.note(one, outcome.id)
        elif one.refuses:
            given.catalogue.note(one)


async def _respond(
    given: Parts, app_id: str, outcomes: Sequence[Accepted], repeats: int
) -> Response:
    number = sum(isinstance(outcome, Message) for outcome in outcomes)
    given.limits.accepted(app_id, number - repeats)
    again = next((outcome for outcome in outcomes if isinstance(outcome, _AGAIN)), None)
    if again is not None and not number:
        raise again
    _count(given, outcomes, number, repeats)
    headers = dict(given.limits.headers(app_id))
    if again is not None:
        headers["retry-after"] = str(math.ceil(again.retry_after_s))
    results = await given.slices.all(_show(one) for one in outcomes)
    return answer({"results": results}, 202, headers)


async def _read_body(request: Request) -> bytes:
    limit = parts(request).config.max_bulk_bytes
    try:
        return await read_body(request, limit_bytes=limit)
    except TooLarge:
        raise BulkTooLarge(limit) from None


def _count(given: Parts, outcomes: Sequence[Accepted], number: int, repeats: int) -> None:
    metrics = given.publisher.metrics
    metrics.accepted.labels(BULK).inc(number - repeats)
    metrics.replayed_messages.inc(repeats)
    if number < len(outcomes):
        codes = Counter(one.code for one in outcomes if isinstance(one, HooklineError))
        for code, times in codes.items():
            metrics.refused.labels(code).inc(times)


def _show(outcome: Accepted) -> dict[str, object]:
    if isinstance(outcome, Message):
        return {"status": "accepted", "id": outcome.id, "eventId": outcome.event_id}
    shown: dict[str, object] = {"code": outcome.code, "detail": str(outcome)}
    if isinstance(outcome, Conflict):
        return {"status": "duplicate", **shown}
    if isinstance(outcome, Invalid):
        faults = [{"loc": list(f.loc), "msg": f.msg, "type": f.type} for f in outcome.faults]
        return {"status": "rejected", **shown, "faults": faults}
    return {"status": "refused" if isinstance(outcome, _AGAIN) else "rejected", **shown}
