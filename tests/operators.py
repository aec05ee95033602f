"""Operational endpoints of a test's world, and what they are told.

endpoint_id = await listening(world, receiver.url("/operators"), event_types=["alert.raised"])
...
notices = await told(world.pool)
"""

from typing import Any

from schema.operational import app_of
from schema.store.link import Pool
from tests.dispatching import World


async def listening(world: World, url: str = "http://127.0.0.1:9/operators", **filters: Any) -> str:
    """Make an operational endpoint, and the app that it belongs to; give its id."""
    app_id = app_of(world.environment_id)
    await world.pool.execute(
        """INSERT INTO app (environment_id, id, name, kind, created_at, updated_at)
           VALUES ($1, $2, 'operational', 'operational', now(), now()) ON CONFLICT DO NOTHING""",
        world.environment_id,
        app_id,
    )
    return await world.endpoint(app_id, url, **filters)


async def told(pool: Pool, kind: str | None = None) -> list[dict[str, Any]]:
    """Give the operational events that wait to be published, the oldest first."""
    rows = await pool.fetch("SELECT * FROM operational_event ORDER BY number")
    return [dict(row) for row in rows if kind in {None, row["kind"]}]
