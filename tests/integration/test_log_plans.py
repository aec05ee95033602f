"""The pages of the logs keep to their indexes, however much there is: plans on filled tables."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from schema import ids
from schema.store import statements
from schema.store.link import Link, Pool
from tests import plans
from tests.services import Services

pytestmark = pytest.mark.asyncio(loop_scope="module")

APPS = 20
ENDPOINTS = 3
PER_DAY = 2_000
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
# All partitions that there are, and one day that only the default partition has room for.
DAYS = [TODAY + timedelta(days=n) for n in (-60, *range(-1, 8))]
# Statement, and the index that its comment names for each table that it reads.
PAGES = [
    ("message", "page_down", {"message_pkey"}),
    ("message", "page_up", {"message_pkey"}),
    ("poller", "look", {"message_pkey"}),
    ("poller", "read", {"message_pkey"}),
    ("message", "named", {"message_pkey"}),
    ("message", "by_id", {"message_pkey"}),
    ("message", "by_event_id", {"message_event_id_pkey", "message_pkey"}),
    ("message", "by_key", {"message_key_pkey", "message_pkey"}),
    ("message", "known", {"message_event_id_pkey", "message_key_pkey"}),
    ("attempt", "by_id", {"attempt_pkey"}),
    ("attempt", "endpoint_down", {"attempt_endpoint_idx", "message_pkey"}),
    ("attempt", "endpoint_up", {"attempt_endpoint_idx", "message_pkey"}),
    ("attempt", "count", {"attempt_endpoint_idx", "message_pkey"}),
    ("attempt", "failed_down", {"attempt_failed_idx", "message_pkey"}),
    ("attempt", "failed_up", {"attempt_failed_idx", "message_pkey"}),
    ("attempt", "message_down", {"attempt_message_idx", "message_pkey"}),
    ("attempt", "message_up", {"attempt_message_idx", "message_pkey"}),
    ("delivery", "endpoint_down", {"delivery_endpoint_idx", "message_pkey"}),
    ("delivery", "endpoint_up", {"delivery_endpoint_idx", "message_pkey"}),
    ("delivery", "dead_down", {"delivery_dead_idx", "message_pkey"}),
    ("delivery", "dead_up", {"delivery_dead_idx", "message_pkey"}),
    ("delivery", "message_up", {"delivery_pkey", "endpoint_pkey"}),
    ("delivery", "message_down", {"delivery_pkey", "endpoint_pkey"}),
    ("rejected_event", "page_down", {"rejected_event_environment_idx", "rejected_event_pkey"}),
    ("rejected_event", "page_up", {"rejected_event_environment_idx", "rejected_event_pkey"}),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(services: Services) -> AsyncIterator[Pool]:
    """Lend a database with some thousand rows in every partition, and honest statistics."""
    async with plans.filled_database(services, fill) as pool:
        yield pool


async def fill(link: Link) -> None:
    apps = [ids.new_id(ids.APP, TODAY) for _ in range(APPS)]
    endpoints = {app: [ids.new_id(ids.ENDPOINT, TODAY) for _ in range(ENDPOINTS)] for app in apps}
    messages, deliveries, attempts, letters, ledger = [], [], [], [], []
    for day in DAYS:
        for n in range(PER_DAY):
            at = day + timedelta(seconds=n * 40)
            app = apps[n % APPS]
            message = ids.new_id(ids.MESSAGE, at)
            endpoint = endpoints[app][n % ENDPOINTS]
            dead = n % 50 < 2
            state, due = ("dead", None) if dead else ("delivered", None)
            messages.append(
                (app, message, "a.b", f"e{day:%m%d}-{n}", None, None, b"{}" * 50, "x", at)
            )
            ledger.append((app, f"e{day:%m%d}-{n}", message, at))
            deliveries.append((app, message, endpoint, 0, state, due, at))
            attempt = ids.new_id(ids.ATTEMPT, at)
            verdict, status = ("park", 500) if dead else ("delivered", 200)
            attempts.append(
                (app, attempt, message, endpoint, "a.b", 1, 0, verdict, "u", status, at, 1)
            )
            letter = ids.new_id(ids.DEAD_LETTER, at)
            parked = "parked" if n // 60 % 3 == 0 else "redelivered"
            letters.append(
                (app, letter, message, endpoint, parked, "exhausted", "a.b", "x", "u", "f", 1,
                 at, at, at)
            )  # fmt: skip
    rejected = [
        (ids.new_id(ids.REJECTED_EVENT, at), None if n % 23 == 0 else f"org_{n % 20}", "a", "s", {},
         b"", "not_json", "", n, at)
        for n, (*_, at) in enumerate(messages[:5_000])
    ]  # fmt: skip
    rows: dict[str, tuple[list[Any], str]] = {
        "message": (
            messages, "app_id id event_type event_id channels tags payload content_type created_at",
        ),
        "message_event_id": (ledger, "app_id event_id message_id created_at"),
        "message_key": ([row[:3] for row in ledger], "app_id key message_id"),
        "delivery": (deliveries, "app_id message_id endpoint_id shard state due_at created_at"),
        "attempt": (
            attempts,
            (
                "app_id id message_id endpoint_id event_type number trigger verdict url status "
                "started_at duration_ms"
            ),
        ),
        "dead_letter": (
            letters,
            (
                "app_id id message_id endpoint_id state reason event_type content_type url "
                "fingerprint attempts message_at parked_at updated_at"
            ),
        ),
        "rejected_event": (
            rejected,
            "id environment_id app subject headers body reason detail sequence created_at",
        ),
        "endpoint": (
            [(app, e, "u", TODAY, TODAY, TODAY) for app, some in endpoints.items() for e in some],
            "app_id id url state_at created_at updated_at",
        ),
    }  # fmt: skip
    for table, (records, columns) in rows.items():
        await link.copy_records_to_table(table, records=records, columns=columns.split())
    await link.execute("ANALYZE")


async def arguments(link: Link, stem: str, name: str) -> list[Any]:
    """Give the parameters of a busy page: of an app in the middle, without filters."""
    some = await link.fetchrow(
        "SELECT app_id, message_id, endpoint_id FROM delivery ORDER BY app_id OFFSET 9000 LIMIT 1"
    )
    assert some is not None
    app, message, endpoint = some
    span = ["", "~", 51]
    filters: dict[str, list[Any]] = {
        "message": [app, *span, None, None, None, True],
        "attempt": [app, message if "message" in name else endpoint, *span, *[None] * 5, True],
        "delivery": [app, endpoint, *span, None, None, None, True, None, None],
        "poller": [app, "", "~", 51, None, None, None],
        "rejected_event": ["org_3", *span, True, "rejected", None, None],
    }
    special: dict[tuple[str, str], list[Any]] = {
        ("message", "named"): [app, [message], message, message],
        ("poller", "read"): [app, [message], message, message],
        ("message", "by_id"): [app, message],
        ("message", "by_event_id"): [app, "e1"],
        ("message", "by_key"): [app, "k1"],
        ("message", "known"): [[app], ["e1"], ["k1"], message],
        ("attempt", "by_id"): [app, ids.new_id(ids.ATTEMPT, TODAY)],
        ("delivery", "message_up"): [app, message, *span],
        ("delivery", "message_down"): [app, message, *span],
        ("attempt", "endpoint_down"): [*filters["attempt"], False],
        ("attempt", "endpoint_up"): [*filters["attempt"], False],
        ("attempt", "count"): [*filters["attempt"][:-1], None],
        ("attempt", "message_down"): [*filters["attempt"], None, None],
        ("attempt", "message_up"): [*filters["attempt"], None, None],
    }
    given = special.get((stem, name), filters[stem])
    prepared = await link.prepare(statements.load(stem)[name])
    return given[: len(prepared.get_parameters())]


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize(("stem", "name", "indexes"), PAGES, ids=[f"{s}.{n}" for s, n, _ in PAGES])
async def test_a_page_is_read_by_its_index_without_scanning_or_sorting(
    filled: Pool, stem: str, name: str, indexes: set[str], *, generic: bool
) -> None:
    async with filled.acquire() as link:
        given = await arguments(link, stem, name)
        plan = await plans.plan_of(link, statements.load(stem)[name], *given, generic=generic)
        used = plans.indexes(plan, await plans.parents(link))

    assert not plans.kinds(plan) & {"Seq Scan", "Sort", "Incremental Sort", "Bitmap Heap Scan"}
    assert used
    assert used <= indexes


async def test_a_page_touches_the_partitions_of_its_days_only(filled: Pool) -> None:
    sql = statements.load("message")["page_down"]
    day = TODAY + timedelta(days=2)
    low, high = (
        ids.first_id(ids.MESSAGE, at) for at in (day + timedelta(hours=1), day + timedelta(hours=9))
    )
    async with filled.acquire() as link:
        app = await link.fetchval("SELECT min(app_id) FROM message")
        plan = await plans.plan_of(link, sql, *(app, low, high, 51, None, None, None, False))

    read = {node["Relation Name"] for node in plan if "Relation Name" in node}
    assert read == {f"message_{day:%Y%m%d}"}


STRAYS = [
    ("prune_stray_attempts", ids.ATTEMPT, "attempt_default_id_idx"),
    ("prune_stray_deliveries", ids.MESSAGE, "delivery_default_message_idx"),
    ("prune_stray_messages", ids.MESSAGE, "message_default_id_idx"),
]


@pytest.mark.parametrize(("name", "prefix", "index"), STRAYS, ids=[name for name, *_ in STRAYS])
async def test_what_lies_in_no_days_partition_is_found_by_age_without_reading_all_of_it(
    filled: Pool, name: str, prefix: str, index: str
) -> None:
    sql, before = statements.load("upkeep")[name], TODAY - timedelta(days=30)
    async with filled.acquire() as link:
        plan = await plans.plan_of(link, sql, ids.first_id(prefix, before), 100)
        used = plans.indexes(plan)

    assert index in used
    assert not plans.scanned(plan)
