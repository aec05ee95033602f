"""Certificates of endpoints; identities are sealed, and opened by whoever holds the keyring."""

from collections.abc import Collection
from datetime import datetime

from schema.certificate import CertificateKind, EndpointCertificate
from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("endpoint_certificate")


async def find(
    link: Link, app_id: str, endpoint_id: str, kind: CertificateKind
) -> EndpointCertificate | None:
    """Give those of an endpoint that are for this."""
    row = await link.fetchrow(_SQL["find"], app_id, endpoint_id, kind)
    if row is None:
        return None
    return EndpointCertificate(
        kind=CertificateKind(row["kind"]),
        content=row["content"],
        subject=row["subject"],
        ends_at=row["ends_at"],
        updated_at=row["updated_at"],
    )


async def put(link: Link, app_id: str, endpoint_id: str, given: EndpointCertificate) -> None:
    """Write those of an endpoint instead of what there was."""
    await link.execute(
        _SQL["put"],
        app_id,
        endpoint_id,
        given.kind,
        given.content,
        given.subject,
        given.ends_at,
        given.updated_at,
    )


async def delete(link: Link, app_id: str, endpoint_id: str, kind: CertificateKind) -> None:
    """Delete those of an endpoint that are for this, if there are any."""
    await link.execute(_SQL["delete"], app_id, endpoint_id, kind)


async def delete_all(link: Link, app_id: str, endpoint_ids: Collection[str]) -> None:
    """Delete all of endpoints."""
    await link.execute(_SQL["delete_all"], app_id, list(endpoint_ids))


async def ending(link: Link, now: datetime, soon: datetime) -> tuple[int, int]:
    """Count those that have expired, and those that will soon."""
    row = await link.fetchrow(_SQL["ending"], now, soon)
    return (row["ended"], row["ending"]) if row else (0, 0)
