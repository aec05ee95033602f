"""What every request passes: a name for it, one form of its path, its handler, a net beneath it.

One step, not a stack of them: layers cost more than most handlers do.
"""

import itertools
import logging
import re
import secrets
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway import unserved
from gateway.parts import SCOPE_KEY, Parts
from gateway.problems import nothing_here, respond, server_error, wrong_method
from gateway.routing import Table
from schema.errors import HooklineError

REQUEST_ID: Final = "x-request-id"
_REQUEST_ID: Final = REQUEST_ID.encode()
_ORIGIN: Final = b"origin"
_GIVEN_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")
_EXPOSED: Final = (REQUEST_ID, "retry-after", "ratelimit", "ratelimit-policy")
_CORS_MAX_AGE_S: Final = 600
_log = logging.getLogger(__name__)


class Doorway:
    """Names the request, takes trailing slashes off its path, answers 500 for what nobody caught.

    The name is the caller's `x-request-id` if it is a plain one; the answer carries it.
    """

    def __init__(self, table: Table, given: Parts) -> None:
        """Stand before the operations."""
        self._table = table
        self._unserved = unserved.table()
        self._given = given
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._to_browsers = CORSMiddleware(
            self._serve,
            allow_origins=["*"],
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
            max_age=_CORS_MAX_AGE_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; what a browser sends for a page of another origin, by its rules."""
        for name, _ in scope["headers"]:
            if name == _ORIGIN:
                await self._to_browsers(scope, receive, send)
                return
        await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self._name(scope)
        try:
            response = await self._respond(scope, receive)
        except Exception:  # noqa: BLE001 - whatever it is, the caller gets an answer
            method, path = scope["method"], scope["path"]
            _log.exception("request %s: %s %s", request_id.decode(), method, path)
            response = server_error()
        response.raw_headers.append((_REQUEST_ID, request_id))
        await response(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        path: str = scope["path"]
        if path[-1:] == "/":
            path = path.rstrip("/") or "/"
        found = self._table.find(scope["method"], path)
        if found is None:
            return await self._nowhere(scope, path)
        handler, scope["path_params"] = found
        scope[SCOPE_KEY] = self._given
        try:
            return await handler(Request(scope, receive))
        except HooklineError as error:
            return respond(error)

    async def _nowhere(self, scope: Scope, path: str) -> Response:
        """Answer what no operation takes."""
        methods = self._table.methods(path)
        missing = self._unserved.find(scope["method"], path)
        if missing is not None:
            return await missing[0](Request(scope))
        return wrong_method(methods) if methods else nothing_here()

    def _name(self, scope: Scope) -> bytes:
        for name, value in scope["headers"]:
            if name == _REQUEST_ID:
                if _GIVEN_ID.match(value):
                    return bytes(value)
                break
        return b"%s%08x" % (self._prefix.encode(), next(self._numbers))
