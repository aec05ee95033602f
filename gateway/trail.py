"""Writes what callers do to the audit trail."""

from gateway.auth import Caller
from gateway.parts import Parts
from schema import ids
from schema.audit import AuditEntry
from schema.store import audit
from schema.store.link import Link


async def note(
    link: Link, given: Parts, caller: Caller, action: str, target: str, **detail: object
) -> None:
    """Write an entry, in the transaction of what it tells.

    Args:
        link: The connection that the transaction is on.
        given: The gateway's parts.
        caller: Who does it.
        action: Noun and verb, such as `endpoint.update`.
        target: The id of what it is done to.
        detail: What else there is to know; never a secret, a header's value or a payload.
    """
    now = given.clock()
    entry = AuditEntry(
        environment_id=caller.environment_id,
        id=ids.new_id(ids.AUDIT, now),
        key_id=caller.key_id,
        action=action,
        object=target,
        detail=detail,
        at=now,
    )
    await audit.add(link, entry)
