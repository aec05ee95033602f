"""What every request passes first: a name for it, one form of its path, and a net beneath it."""

import logging
import re
import secrets
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems import server_error

REQUEST_ID: Final = "x-request-id"
_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_log = logging.getLogger(__name__)


class Doorway:
    """Names the request, takes trailing slashes off its path, answers 500 for what nobody caught.

    The name is the caller's `x-request-id` if it is a plain one; the answer carries it.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Stand before `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _name(scope)
        started = False

        async def named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(_one_form(scope), receive, named)
        except Exception:
            _log.exception("request %s: %s %s", request_id, scope["method"], scope["path"])
            if started:
                raise
            await server_error()(scope, receive, named)


def _name(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if _GIVEN_ID.match(given) else secrets.token_hex(8)


def _one_form(scope: Scope) -> Scope:
    path: str = scope["path"]
    if not path.endswith("/") or path == "/":
        return scope
    return {**scope, "path": path.rstrip("/") or "/"}
