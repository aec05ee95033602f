"""Transformations."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from schema.store import statements
from schema.store.link import Link
from schema.transformation import Transformation

_SQL = statements.load("transformation")


class Due(NamedTuple):
    """What is to be run for a delivery, and what its message tells.

    Attributes:
        params: A JSON object.
    """

    code: str
    variables: bytes | None
    channels: tuple[str, ...] | None
    params: str | None


async def find(link: Link, app_id: str, endpoint_id: str) -> Transformation:
    """Give the transformation of an endpoint, an empty one if it has none."""
    row = await link.fetchrow(_SQL["find"], app_id, endpoint_id)
    if row is None:
        return Transformation(app_id=app_id, endpoint_id=endpoint_id)
    return Transformation(
        app_id=app_id,
        endpoint_id=endpoint_id,
        code=row["code"],
        enabled=row["enabled"],
        variables=row["variables"],
        updated_at=row["updated_at"],
    )


async def put(link: Link, transformation: Transformation) -> None:
    """Write a transformation in place of what there is; the endpoint is the caller's to lock."""
    await link.execute(
        _SQL["put"],
        transformation.app_id,
        transformation.endpoint_id,
        transformation.code,
        transformation.enabled,
        transformation.variables,
        transformation.updated_at,
    )


async def delete_all(link: Link, app_id: str, endpoint_ids: Collection[str]) -> None:
    """Delete all transformations of endpoints."""
    await link.execute(_SQL["delete_all"], app_id, list(endpoint_ids))


async def due(link: Link, wanted: Sequence[tuple[str, str, str]]) -> dict[int, Due]:
    """Give what is to be run for deliveries (app, endpoint, message), by place."""
    message_ids = [message_id for _, _, message_id in wanted]
    rows = await link.fetch(
        _SQL["due"],
        [app_id for app_id, _, _ in wanted],
        [endpoint_id for _, endpoint_id, _ in wanted],
        message_ids,
        min(message_ids),
        max(message_ids),
    )
    return {
        row["number"] - 1: Due(
            code=row["code"],
            variables=row["variables"],
            channels=None if row["channels"] is None else tuple(row["channels"]),
            params=row["params"],
        )
        for row in rows
    }
