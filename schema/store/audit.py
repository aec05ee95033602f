"""The audit trail."""

from schema.audit import AuditEntry
from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("audit")


async def add(link: Link, entry: AuditEntry) -> None:
    """Write an entry, in the transaction of what it tells."""
    await link.execute(
        _SQL["add"],
        entry.environment_id,
        entry.id,
        entry.key_id,
        entry.action,
        entry.object,
        dict(entry.detail),
        entry.at,
    )
