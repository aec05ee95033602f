"""What requests with an idempotency key were answered, and which are under way."""

from dataclasses import dataclass
from datetime import datetime

from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("kept_answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """An answer as it is kept: `headers` are names and values in turn, `body` is sealed."""

    status: int
    headers: tuple[str, ...]
    body: bytes


async def hold(
    link: Link, key: bytes, holder: bytes, *, now: datetime, until: datetime, since: datetime
) -> bool:
    """Take a key; False if it has an answer of `since` or later, or is held by somebody else."""
    return await link.fetchval(_SQL["hold"], key, holder, now, until, since) is not None


async def find(link: Link, key: bytes) -> KeptAnswer | None:
    """Give the answer to a key, if there is one by now."""
    row = await link.fetchrow(_SQL["find"], key)
    if row is None:
        return None
    return KeptAnswer(status=row["status"], headers=tuple(row["headers"]), body=row["body"])


async def keep(link: Link, key: bytes, holder: bytes, answer: KeptAnswer) -> None:
    """Keep the answer of whoever holds a key."""
    await link.execute(_SQL["keep"], key, holder, answer.status, list(answer.headers), answer.body)


async def let_go(link: Link, key: bytes, holder: bytes) -> None:
    """Forget a key that is held."""
    await link.execute(_SQL["let_go"], key, holder)
