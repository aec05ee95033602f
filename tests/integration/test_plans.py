"""The dispatcher's statements find rows by index, before any ANALYZE and after it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from schema import ids
from schema.store.link import Link, Pool
from tests import plans
from tests.services import SHARDS, Services

pytestmark = pytest.mark.asyncio(loop_scope="module")

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
# Days that have a partition, and one that only the default partition has room for.
DAYS = [TODAY + timedelta(days=n) for n in (-40, -1, 0, 1)]
PER_DAY = 1_000
APPS, ENDPOINTS = 10, 2
LARGE = {"message", "delivery", "attempt"}
# Statement, and the indexes by which it may find rows of the large tables. A delivery's whole key
# stands in two.
HOT = [
    ("settle", "settle", {"delivery_pkey", "delivery_endpoint_idx"}),
    ("lane", "due", {"delivery_owed_idx"}),
    ("lane", "survey", {"delivery_owed_idx"}),
    ("lane", "in_order", {"delivery_place_idx"}),
    ("lane", "survey_in_order", {"delivery_place_idx"}),
    ("lane", "by_hand", {"delivery_manual_idx"}),
    ("lane", "unplace", {"delivery_place_idx", "delivery_pkey", "delivery_endpoint_idx"}),
    ("lane", "messages", {"message_pkey"}),
    ("lane", "drain_wake", set()),
    ("shard", "claim", set()),
    ("intake", "take", set()),
    ("operational", "note_attempts", {"message_pkey"}),
    ("upkeep", "expire_messages", {"message_payload_until_idx", "message_pkey"}),
    ("expunge", "cancel", {"delivery_pkey", "delivery_endpoint_idx"}),
    ("expunge", "forget", {"message_pkey"}),
    ("endpoint", "overdue_since", {"delivery_owed_idx", "delivery_place_idx"}),
    ("endpoint", "cancelled", {"delivery_cancelled_idx"}),
    (
        "expunge",
        "cancel_of_endpoint",
        {"delivery_owed_idx", "delivery_place_idx", "delivery_pkey", "delivery_endpoint_idx"},
    ),
    (
        "attempt_log",
        "tell",
        {"attempt_log_pkey", "attempt_pkey", "attempt_message_idx", "message_pkey"},
    ),
    ("alert_mail", "about", {"attempt_failed_idx"}),
    ("otel", "page", {"attempt_pkey", "attempt_message_idx", "message_pkey"}),
    ("otel", "claim", set()),
    ("reconciliation", "terms", {"delivery_pkey", "delivery_endpoint_idx"}),
    ("reconciliation", "walk", {"delivery_pkey", "delivery_endpoint_idx"}),
    ("reconciliation", "due", set()),
    ("reconciliation", "fold", set()),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["before", "after"])
async def filled(services: Services, request: pytest.FixtureRequest) -> AsyncIterator[Pool]:
    """Lend connections as the dispatcher's to some thousand rows, before or after an ANALYZE."""
    fills = {"before": fill_without_analyze, "after": fill_and_analyze}
    async with plans.filled_database(services, fills[request.param], batches=True) as pool:
        yield pool


async def fill_and_analyze(link: Link) -> None:
    await fill(link)
    await link.execute("ANALYZE")


async def fill_without_analyze(link: Link) -> None:
    await keep_from_analyze(link)  # nor may the server's own come between
    await fill(link)


async def keep_from_analyze(link: Link) -> None:
    tables = await link.fetch(
        "SELECT oid::regclass::text AS name FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    for row in tables:
        await link.execute(f"ALTER TABLE {row['name']} SET (autovacuum_enabled = off)")


async def fill(link: Link) -> None:
    """Store a delivery and an attempt of every message; of ten, one is owed.

    Every other endpoint is ordered; of what is owed, one in ten was asked for by hand.
    """
    apps = [ids.new_id(ids.APP, TODAY) for _ in range(APPS)]
    endpoints = {app: [ids.new_id(ids.ENDPOINT, TODAY) for _ in range(ENDPOINTS)] for app in apps}
    messages, deliveries, attempts = [], [], []
    for day in DAYS:
        for n in range(PER_DAY):
            at = day + timedelta(seconds=n * 80)
            app = apps[n % APPS]
            endpoint = endpoints[app][n // APPS % ENDPOINTS]
            message = ids.new_id(ids.MESSAGE, at)
            owed = n // APPS % 10 == 0
            state, due = ("retrying", at) if owed else ("delivered", None)
            shard = ids.shard_of(app, SHARDS)
            messages.append((app, message, "a.b", b"{}", "application/json", at))
            place = n if n // APPS % ENDPOINTS else None
            manual = owed and n % 10 == 0
            deliveries.append((app, message, endpoint, shard, state, due, at, place, manual))
            attempt, verdict = ids.new_id(ids.ATTEMPT, at), "retry" if owed else "delivered"
            status = 500 if owed else 200
            attempts.append(
                (app, attempt, message, endpoint, "a.b", 1, 0, verdict, "u", status, at, 1)
            )
    for table, records, columns in (
        ("message", messages, "app_id id event_type payload content_type created_at"),
        (
            "delivery",
            deliveries,
            "app_id message_id endpoint_id shard state due_at created_at place manual",
        ),
        (
            "attempt",
            attempts,
            (
                "app_id id message_id endpoint_id event_type number trigger verdict url status"
                " started_at duration_ms"
            ),
        ),
    ):
        await link.copy_records_to_table(table, records=records, columns=columns.split())


@pytest.mark.parametrize(("stem", "name", "indexes"), HOT, ids=[f"{s}.{n}" for s, n, _ in HOT])
async def test_a_hot_statement_scans_no_large_table_and_uses_the_index_that_it_names(
    filled: Pool, stem: str, name: str, indexes: set[str]
) -> None:
    async with filled.acquire() as link:
        plan = await plans.generic_plan(link, stem, name)
        part_of = await plans.parents(link)

    used = plans.indexes(plan, part_of)
    assert not plans.scanned(plan, part_of) & LARGE
    assert {index for index in used if index.partition("_")[0] in LARGE} <= indexes
    assert bool(indexes) is bool(LARGE & {index.partition("_")[0] for index in used})


@pytest.mark.parametrize(
    ("stem", "name", "table", "key"),
    [
        ("settle", "settle", "delivery", ("app_id", "message_id", "endpoint_id")),
        ("lane", "messages", "message", ("app_id", "id")),
        ("attempt_log", "tell", "message", ("app_id", "id")),
        ("attempt_log", "tell", "attempt", ("app_id", "id")),
        ("otel", "page", "message", ("app_id", "id")),
        ("otel", "page", "attempt", ("app_id", "id")),
    ],
)
async def test_a_batch_looks_its_rows_up_one_by_one_each_by_its_whole_key(
    filled: Pool, stem: str, name: str, table: str, key: tuple[str, ...]
) -> None:
    async with filled.acquire() as link:
        plan = await plans.generic_plan(link, stem, name)
        part_of = await plans.parents(link)

    conditions = {
        node["Index Cond"]
        for node in plan
        if part_of.get(node.get("Index Name", ""), "").startswith(f"{table}_")
    }
    assert conditions
    for condition in conditions:
        assert [column for column in key if f"({column} = " not in condition] == []


@pytest.mark.parametrize("name", ["due", "in_order", "by_hand"])
async def test_what_is_due_comes_in_the_order_of_the_index_without_a_sort_of_a_lane(
    filled: Pool, name: str
) -> None:
    async with filled.acquire() as link:
        plan = await plans.generic_plan(link, "lane", name)

    assert not plans.kinds(plan) & {"Sort", "Bitmap Heap Scan"}
