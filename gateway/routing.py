"""Operations: method, path, who may call, and what answers.

Each file of `gateway.routes` lists its operations; together they are the API, and the table of who
may do what. The guard is built from it alone: a handler runs only for a caller that its operation
admits.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.auth import Access, Caller, Gate, admit, authenticate
from gateway.kept_answer import repeatable
from gateway.scopes import OF_ALL_ENVIRONMENTS, is_of_app, scopes_for
from schema.api_key import Capability

Handler = Callable[[Request, Caller], Awaitable[Response]]
OpenHandler = Callable[[Request], Awaitable[Response]]
_PARAMETER: Final = "{"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that the API does for callers with a key. `path` has no trailing slash.

    Attributes:
        access: Whose keys may do it.
        capability: What a portal's key must hold for it. If none is named: to look at what is
            there, and to manage endpoints for whatever changes something.
        writes: Whether it takes a scope to write; if nothing is said, whatever is no GET does.
        knows_repeats: The handler sees to idempotency keys itself; for other POSTs the first
            answer is kept.
    """

    method: str
    path: str
    access: Access
    handler: Handler
    capability: Capability | None = None
    writes: bool | None = None
    knows_repeats: bool = False

    @property
    def needed(self) -> Capability:
        """Say which capability it takes."""
        if self.capability is not None:
            return self.capability
        return Capability.VIEW_BASE if self.method == "GET" else Capability.MANAGE_ENDPOINT

    @property
    def scopes(self) -> tuple[str, ...]:
        """Say which scopes let a key pass that has any; one of them is enough.

        Raises:
            ValueError: Nobody has said which resource it is about.
        """
        if self.access in {Access.INSTALLATION, Access.OWNER}:
            return OF_ALL_ENVIRONMENTS
        writes = self.method != "GET" if self.writes is None else self.writes
        return scopes_for(self.path, writes=writes, publishes=self.access is Access.PUBLISHER)

    @property
    def gate(self) -> Gate:
        """Say whom it lets pass."""
        return Gate(
            access=self.access,
            needed=self.needed,
            scopes=self.scopes,
            of_app=is_of_app(self.path),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOperation:
    """One thing that the API does for anybody; the handler asks no key."""

    method: str
    path: str
    handler: OpenHandler


AnyOperation = Operation | OpenOperation


@dataclass(slots=True)
class _Node:
    """A place in the tree of paths: what follows it, by name or by any name, and what is here."""

    named: "dict[str, _Node]" = field(default_factory=dict)
    any: "_Node | None" = None
    handler: OpenHandler | None = None
    parameters: tuple[str, ...] = ()


class Table:
    """Finds what answers a method at a path, one look-up for each part of the path.

    Where a part may be a name or a parameter, the name goes first.
    """

    def __init__(self) -> None:
        """Start without operations."""
        self._roots: dict[str, _Node] = {}

    def add(self, operation: AnyOperation) -> None:
        """Add an operation.

        Raises:
            ValueError: Its method and path are there already.
        """
        node = self._roots.setdefault(operation.method, _Node())
        parameters = []
        for part in operation.path.split("/"):
            if part.startswith(_PARAMETER):
                parameters.append(part[1:-1])
                if node.any is None:
                    node.any = _Node()
                node = node.any
            else:
                node = node.named.setdefault(part, _Node())
        if node.handler is not None:
            msg = f"{operation.method} {operation.path} stands twice"
            raise ValueError(msg)
        node.handler, node.parameters = _guarded(operation), tuple(parameters)

    def find(self, method: str, path: str) -> tuple[OpenHandler, dict[str, str]] | None:
        """Give the handler and the parameters of the path."""
        values: list[str] = []
        parts = path.split("/")
        found = self._walk(method, parts, values)
        if found is None and method == "HEAD":  # the server leaves the body out
            found = self._walk("GET", parts, values)
        if found is None or found.handler is None:
            return None
        return found.handler, dict(zip(found.parameters, values, strict=True))

    def methods(self, path: str) -> list[str]:
        """Say which methods a path takes, in order."""
        parts = path.split("/")
        return sorted(method for method in self._roots if self._walk(method, parts, []))

    def _walk(self, method: str, parts: Sequence[str], values: list[str]) -> _Node | None:
        root = self._roots.get(method)
        return None if root is None else _walk(root, parts, 0, values)


def build(operations: Iterable[AnyOperation]) -> Table:
    """Make the table of all operations."""
    table = Table()
    for operation in operations:
        table.add(operation)
    return table


def _walk(node: _Node, parts: Sequence[str], at: int, values: list[str]) -> _Node | None:
    if at == len(parts):
        return node if node.handler is not None else None
    part = parts[at]
    named = node.named.get(part)
    if named is not None:
        found = _walk(named, parts, at + 1, values)
        if found is not None:
            return found
    if node.any is None or not part:
        return None
    values.append(part)
    found = _walk(node.any, parts, at + 1, values)
    if found is None:
        values.pop()
    return found


def _guarded(operation: AnyOperation) -> OpenHandler:
    """Put the guard before a handler."""
    if isinstance(operation, OpenOperation):
        return operation.handler
    gate, handler = operation.gate, operation.handler
    if operation.method == "POST" and not operation.knows_repeats:
        handler = repeatable(handler)

    async def guarded(request: Request) -> Response:
        caller = await authenticate(request)
        admit(caller, gate)
        return await handler(request, caller)

    return guarded
