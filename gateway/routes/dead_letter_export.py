"""Dead letters as lines of JSON: `.../dead-letter/export`, oldest first, streamed.

A line is what the list shows of a letter, with `contentType`, the answer, and `payload`: its bytes
as they were published. Bytes that are not JSON, or that hold line breaks, are `payloadBase64`
instead. The last line is `{"complete": true, "count": ...}`; an export without it was cut off.
Letters that are parked while it runs are not in it.
"""

import base64
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway import trail
from gateway.answer import answer, is_json
from gateway.auth import Access, Caller
from gateway.letters import Gate, read_filter, resolve_scope, show
from gateway.parts import Parts, parts
from gateway.query import Query
from gateway.routes.dead_letter import ALL, EVERYWHERE
from gateway.routing import AnyOperation, Operation
from gateway.sent import answered
from gateway.status import as_text
from schema.dead_letter import DeadLetter
from schema.store import dead_letter_search as search
from schema.store.dead_letter import Filter
from schema.store.span import Span

MEDIA_TYPE: Final = "application/x-ndjson"
_AT_ONCE: Final = 500  # letters without payloads
_AT_ONCE_BYTES: Final = 4 * 1024 * 1024  # of payloads
_MOST_RESPONSE_BYTES: Final = 65_536
_SLACK: Final = timedelta(seconds=1)
_BREAKS: Final = (b"\n", b"\r")


def routes() -> list[AnyOperation]:
    """List the exports."""
    handler = partial(export, Gate())
    return [
        Operation(method="GET", path=path, access=access, handler=handler)
        for path, access in (
            (f"{ALL}/export", Access.TENANT),
            (f"{EVERYWHERE}/export", Access.OPERATOR),
        )
    ]


async def export(gate: Gate, request: Request, caller: Caller) -> Response:
    """Give all letters that a filter means."""
    given = parts(request)
    app = await resolve_scope(request, caller)
    wanted = await read_filter(request, Query(request), caller, app)
    end = given.clock() + _SLACK
    wanted = replace(wanted, before=end if wanted.before is None else min(end, wanted.before))
    first = await _find(gate, given, wanted, "")
    async with given.connection() as link:
        target = caller.environment_id if app is None else app.id
        await trail.note(link, given, caller, "dead_letter.export", target, filter=wanted.to_json())
    if request.method == "HEAD":
        return Response(media_type=MEDIA_TYPE)
    return StreamingResponse(_lines(gate, given, wanted, first), media_type=MEDIA_TYPE)


async def _find(gate: Gate, given: Parts, wanted: Filter, low: str) -> search.Found:
    _, high = wanted.bounds
    span = Span(low=low, high=high, up=True, limit=_AT_ONCE)
    async with gate.search(given, wanted) as link:
        return await search.page(link, wanted, span)


async def _lines(
    gate: Gate, given: Parts, wanted: Filter, found: search.Found
) -> AsyncIterator[bytes]:
    number = 0
    while True:
        for some in _portions(found.letters):
            async with given.connection() as link:
                letters = await search.whole(link, some)
            number += len(letters)
            yield b"".join([_line(letter) for letter in letters])
        if found.stopped_at is not None:
            low = found.stopped_at
        elif len(found.letters) == _AT_ONCE:
            low = found.letters[-1].id
        else:
            break
        found = await _find(gate, given, wanted, low)
    yield _as_line({"complete": True, "count": number})


def _portions(letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Divide letters into what may be in memory with payloads and answers; one always may."""
    some: list[DeadLetter] = []
    size = 0
    for letter in letters:
        more = (letter.payload_bytes or 0) + _MOST_RESPONSE_BYTES
        if some and size + more > _AT_ONCE_BYTES:
            yield some
            some, size = [], 0
        some.append(letter)
        size += more
    if some:
        yield some


def _line(letter: DeadLetter) -> bytes:
    said = {
        "contentType": letter.content_type,
        "response": None if letter.response is None else as_text(letter.response),
        "responseHeaders": answered(letter.response_headers),
    }
    return _as_line(show(letter) | said | _payload(letter.payload))


def _as_line(data: object) -> bytes:
    return bytes(answer(data).body) + b"\n"


def _payload(payload: bytes | None) -> dict[str, object]:
    if payload is None:
        return {"payload": None}
    if not any(mark in payload for mark in _BREAKS) and is_json(payload):
        return {"payload": orjson.Fragment(payload)}
    return {"payloadBase64": base64.b64encode(payload).decode()}
