"""Leases of shards: one dispatcher owns a shard at a time, under an epoch."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from schema.store import statements
from schema.store.intake import Stored
from schema.store.link import Link

_SQL = statements.load("shard")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A shard that was taken over, and how far its intake had come on which stream."""

    shard: int
    epoch: int
    position: int
    stream_at: datetime | None


async def announce(link: Link, dispatcher: str, alive_s: float) -> list[str]:
    """Say that a dispatcher lives; give the ids of all that live, sorted."""
    return [row["id"] for row in await link.fetch(_SQL["announce"], dispatcher, alive_s)]


async def leave(link: Link, dispatcher: str) -> None:
    """Say that a dispatcher is gone."""
    await link.execute(_SQL["leave"], dispatcher)


async def count(link: Link) -> int:
    """Count the shards of the installation."""
    return int(await link.fetchval(_SQL["count"]))


async def renew(
    link: Link, owner: str, epochs: Mapping[int, int], lease_s: float
) -> dict[int, Stored]:
    """Keep shards (by epoch) for `lease_s` more; say where the intake of each that is kept stands.

    What is not in the answer is lost.
    """
    rows = await link.fetch(_SQL["renew"], owner, list(epochs), list(epochs.values()), lease_s)
    return {row["id"]: Stored(row["position"], row["stream_at"]) for row in rows}


async def claim(
    link: Link, owner: str, *, most: int, lease_s: float, held: Collection[int]
) -> list[Claim]:
    """Take up to `most` shards that nobody holds, or that `owner` held in a former life."""
    rows = await link.fetch(_SQL["claim"], owner, most, lease_s, list(held))
    return [
        Claim(
            shard=row["id"],
            epoch=row["epoch"],
            position=row["position"],
            stream_at=row["stream_at"],
        )
        for row in rows
    ]


async def release(link: Link, owner: str, epochs: Mapping[int, int]) -> None:
    """Give shards back."""
    await link.execute(_SQL["release"], owner, list(epochs), list(epochs.values()))


async def positions(link: Link) -> dict[int, int]:
    """Give the last stream sequence that became rows, by shard."""
    return {row["id"]: row["position"] for row in await link.fetch(_SQL["positions"])}
