"""What looks at alerts and tells operators finds rows by index, with the dispatcher's settings."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from schema.store.link import Pool
from schema.store.pool import open_pool
from tests.plans import generic_plan
from tests.services import Services

pytestmark = pytest.mark.asyncio(loop_scope="module")

GROUPS = "dead_letter_group_environment_count_idx"
LARGE = {
    "dead_letter",
    "dead_letter_group",
    "rollup_minute",
    "endpoint_health",
    "operational_event",
    "app",
    "endpoint",
}
LOOKS = [
    ("alert", "parked_count", {GROUPS}),
    ("alert", "oldest_parked_s", {GROUPS, "dead_letter_group_idx"}),
    ("alert", "parked_per_minute", {"dead_letter_updated_idx"}),
    ("alert", "failure_percent", {"rollup_minute_time_idx", "app_id_key"}),
    ("dead_letter", "oldest_parked", {GROUPS, "dead_letter_group_idx"}),
    ("health", "open", {"endpoint_health_open_idx"}),
    ("health", "tried", {"rollup_minute_time_idx", "endpoint_health_pkey"}),
    ("health", "good", {"rollup_minute_pkey"}),
    ("health", "hold", {"endpoint_pkey", "app_id_key"}),
    ("health", "write", {"endpoint_health_pkey", "endpoint_pkey"}),
    ("health", "disable", {"endpoint_pkey"}),
    ("operational", "note", {"app_id_key"}),
    ("operational", "note_endpoints", {"app_id_key", "endpoint_pkey"}),
    ("operational", "interest", {"app_operational_idx", "endpoint_pkey"}),
    ("operational", "page", {"operational_event_pkey"}),
    ("operational", "finish", {"operational_event_pkey"}),
    ("operational", "digest", {"app_id_key"}),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(services: Services) -> AsyncIterator[Pool]:
    """Lend connections as the dispatcher's."""
    async with services.database() as url:
        opened = await open_pool(url, size=1, batches=True)
        yield opened
        await opened.close()


@pytest.mark.parametrize(("stem", "name", "indexes"), LOOKS, ids=[f"{s}.{n}" for s, n, _ in LOOKS])
async def test_a_look_reads_no_large_table_whole(
    pool: Pool, stem: str, name: str, indexes: set[str]
) -> None:
    async with pool.acquire() as link:
        plan = await generic_plan(link, stem, name)

    scanned = {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"}
    used = {node["Index Name"] for node in plan if "Index Name" in node}
    assert not scanned & LARGE
    assert indexes <= used
