"""Operations: method, path, who may call, and what answers.

Each file of `gateway.routes` lists its operations; together they are the API, and the guard is
built from them alone: a handler runs only for a caller that its operation admits.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.auth import Access, Caller, admit, authenticate
from gateway.problems import respond
from schema.errors import HooklineError

Handler = Callable[[Request, Caller], Awaitable[Response]]
OpenHandler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that the API does for callers with a key. `path` has no trailing slash."""

    method: str
    path: str
    access: Access
    handler: Handler


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOperation:
    """One thing that the API does for anybody; the handler asks no key."""

    method: str
    path: str
    handler: OpenHandler


AnyOperation = Operation | OpenOperation


def build(operations: Iterable[AnyOperation]) -> list[Route]:
    """Make one route for each path; another method than its operations' is answered 405."""
    paths: dict[str, dict[str, OpenHandler]] = {}
    for operation in operations:
        methods = paths.setdefault(operation.path, {})
        if operation.method in methods:
            msg = f"{operation.method} {operation.path} stands twice"
            raise ValueError(msg)
        methods[operation.method] = _guarded(operation)
    return [Route(path, _Place(handlers)) for path, handlers in paths.items()]


def _guarded(operation: AnyOperation) -> OpenHandler:
    """Put the guard before a handler."""
    if isinstance(operation, OpenOperation):
        return operation.handler
    access, handler = operation.access, operation.handler

    async def guarded(request: Request) -> Response:
        caller = await authenticate(request)
        admit(caller, access)
        return await handler(request, caller)

    return guarded


class _Place:
    """What answers at one path. Starlette leaves the methods to it, as it is no function."""

    def __init__(self, handlers: dict[str, OpenHandler]) -> None:
        self._handlers = handlers
        self._allowed = ", ".join(sorted(handlers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        handler = self._handlers.get(method)
        if handler is None and method == "HEAD":  # the server leaves the body out
            handler = self._handlers.get("GET")
        if handler is None:
            raise HTTPException(405, headers={"allow": self._allowed})
        try:
            response = await handler(Request(scope, receive, send))
        except HooklineError as error:
            response = respond(error)
        await response(scope, receive, send)
