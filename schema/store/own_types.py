"""Connections that learn Postgres's own types from one another.

asyncpg asks each new connection anew what `bigint[]` is, by a statement that takes Postgres longer
than most of ours. What the types below are is the same in all databases and never changes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

if TYPE_CHECKING:
    _Connection = asyncpg.Connection[asyncpg.Record]
else:  # asyncpg's classes are generic in its stubs only
    _Connection = asyncpg.Connection

_FIRST_OF_OTHERS: Final = 16_384  # the first oid that Postgres gives to what somebody creates
_known: Final[dict[frozenset[int], Sequence[asyncpg.Record]]] = {}


@dataclass(frozen=True, slots=True)
class _NotAsked:
    """Stands where asyncpg looks for the statement that asked: none took another's place."""

    name: str = "not asked"


class Connection(_Connection):
    """A connection that asks only what no other of this process was told."""

    async def _introspect_types(
        self,
        typeoids: Iterable[int],
        timeout: float | None,  # noqa: ASYNC109 - asyncpg's own
    ) -> tuple[Sequence[asyncpg.Record], Any]:
        wanted = frozenset(typeoids)
        if wanted in _known:
            return _known[wanted], _NotAsked()
        # asyncpg's own method, which its stubs do not have.
        told, asked = await super()._introspect_types(wanted, timeout)  # type: ignore[misc]
        if max(wanted) < _FIRST_OF_OTHERS:
            _known[wanted] = told
        return told, asked
