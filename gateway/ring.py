"""Rings the owner of a shard: somebody made work for it, or changed what it works by; or all.

The row is the truth and is written with the change; the ring over NATS only makes the owner look
at once instead of within a second, so it may be lost.
"""

import logging

import nats.errors

from gateway.parts import Parts
from schema.event import WAKE_ROOT
from schema.ids import shard_of
from schema.store import wake
from schema.store.link import Link

_log = logging.getLogger(__name__)


async def note(link: Link, given: Parts, app_id: str, *endpoint_ids: str) -> None:
    """Write down, in the transaction of the change, that the endpoints' owner must look."""
    await wake.add(link, shard_of(app_id, given.config.shards), app_id, endpoint_ids)


async def recall(link: Link, given: Parts, app_id: str, *endpoint_ids: str) -> None:
    """Write down, where deliveries are called off, that their owner must let go of them."""
    shard = shard_of(app_id, given.config.shards)
    await wake.add(link, shard, app_id, endpoint_ids, recall=True)


async def ring(given: Parts, app_id: str) -> None:
    """Ring, after the transaction."""
    await _ring(given, f"{WAKE_ROOT}.{shard_of(app_id, given.config.shards)}")


async def ring_tasks(given: Parts) -> None:
    """Have the dispatchers look at the tasks, after the transaction."""
    await _ring(given, f"{WAKE_ROOT}.tasks")


async def _ring(given: Parts, subject: str) -> None:
    try:
        await given.bus.publish(subject, b"")
    except (nats.errors.Error, OSError) as error:
        _log.info("%s was not rung: %s", subject, error)
