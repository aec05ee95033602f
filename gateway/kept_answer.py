"""Repeated requests get the first one's answer: all POSTs but those that publish.

The first takes its key in Postgres, so it makes no difference which gateway a repeat comes to. A
repeat that comes meanwhile waits for the answer. What was refused is forgotten. A gateway that dies
between what it did and its answer leaves the key held for a minute; a repeat after that is done
again.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.auth import Caller
from gateway.idempotency import KEPT, read_key
from gateway.parts import Parts, parts
from schema.errors import HooklineError, Overload
from schema.store import kept_answer as store
from schema.store.kept_answer import KeptAnswer

HELD: Final = timedelta(minutes=1)  # longer than any request takes
WAIT_S: Final = 10.0  # for the first, below the official clients' timeout of 15 s
MOST_BYTES: Final = 262_144  # of an answer; a larger one is not kept
SUCCESS: Final = 2  # a status' first digit
_LOOK_S: Final = 0.05
_HOLDER_BYTES: Final = 16
_LENGTH: Final = b"content-length"
_log = logging.getLogger(__name__)

Handler = Callable[[Request, Caller], Awaitable[Response]]


class UnderWay(Overload):
    """The first request with this key has no answer yet."""

    code = "under_way"


def repeatable(handler: Handler) -> Handler:
    """Put before a handler what answers repeated requests."""

    async def answered(request: Request, caller: Caller) -> Response:
        key = read_key(request, caller)
        if key is None:
            return await handler(request, caller)
        given, holder = parts(request), os.urandom(_HOLDER_BYTES)
        known = await _take(given, key.digest, holder)
        if known is not None:
            given.publisher.metrics.replayed_answers.inc()
            return _open(given, key.digest, known)
        try:
            response = await handler(request, caller)
        except Exception:
            await _let_go(given, key.digest, holder)
            raise
        await _keep(given, key.digest, holder, response)
        return response

    return answered


async def _take(given: Parts, digest: bytes, holder: bytes) -> KeptAnswer | None:
    """Take the key, or give the answer of the first, once there is one.

    Raises:
        UnderWay: There is none for too long.
    """
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while True:
        now = given.clock()
        async with given.connection() as link:
            if await store.hold(link, digest, holder, now=now, until=now + HELD, since=now - KEPT):
                return None
            found = await store.find(link, digest)
        if found is not None:
            return found
        if asyncio.get_running_loop().time() >= deadline:
            raise UnderWay("The first request with this idempotency key is still under way.")
        await asyncio.sleep(_LOOK_S)


async def _keep(given: Parts, digest: bytes, holder: bytes, response: Response) -> None:
    body = getattr(response, "body", None)
    if response.status_code // 100 != SUCCESS or body is None or len(body) > MOST_BYTES:
        await _let_go(given, digest, holder)
        return
    headers = [
        text.decode("latin-1")
        for name, value in response.raw_headers
        if name != _LENGTH
        for text in (name, value)
    ]
    sealed = given.vault.seal(bytes(body), context=digest)
    kept = KeptAnswer(status=response.status_code, headers=tuple(headers), body=sealed)
    try:
        async with given.connection() as link:
            await store.keep(link, digest, holder, kept)
    except HooklineError as error:  # what was done is done
        _log.warning("the answer to a request with an idempotency key was not kept: %s", error)


async def _let_go(given: Parts, digest: bytes, holder: bytes) -> None:
    async with given.connection() as link:
        await store.let_go(link, digest, holder)


def _open(given: Parts, digest: bytes, kept: KeptAnswer) -> Response:
    body = given.vault.open(kept.body, context=digest)
    headers = dict(zip(kept.headers[::2], kept.headers[1::2], strict=True))
    if not body:  # 204 has no length
        return Response(status_code=kept.status, headers=headers)
    return Response(body, kept.status, headers)
