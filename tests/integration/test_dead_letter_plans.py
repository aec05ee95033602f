"""Lists of dead letters keep to their indexes, whatever is asked: plans on a filled table."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from schema import ids
from schema.dead_letter import LetterState
from schema.store import dead_letter_group as groups
from schema.store import dead_letter_search as search
from schema.store import statements
from schema.store.dead_letter import Filter
from schema.store.dead_letter_group import GroupFilter, GroupSpan, Order
from schema.store.link import Link, Pool
from schema.store.span import Span
from tests import plans, rows
from tests.services import Services

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = rows.now()
LETTERS = 12_000
APP, ENDPOINT = ids.new_id(ids.APP, NOW), ids.new_id(ids.ENDPOINT, NOW)
OTHERS = [ids.new_id(ids.APP, NOW) for _ in range(10)]
STATE, ENVIRONMENT = "dead_letter_state_idx", "dead_letter_environment_idx"
BY_ENDPOINT, BY_GROUP = "dead_letter_endpoint_idx", "dead_letter_group_idx"
ASKED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nothing": ({}, {STATE}),
    "all states": ({"states": tuple(LetterState)}, {STATE}),
    "an endpoint": ({"endpoint_ids": (ENDPOINT,)}, {STATE, BY_ENDPOINT}),
    "endpoints": ({"endpoint_ids": (ENDPOINT, "ep_2")}, {STATE, BY_ENDPOINT}),
    "a group": ({"group_ids": ("dlg_1",)}, {STATE, BY_GROUP}),
    "types": ({"event_types": ("a.1", "a.2")}, {STATE}),
    "a reason": ({"reasons": ("gone",)}, {STATE}),
    "a class": ({"error_classes": ("timeout",)}, {STATE}),
    "a fault": ({"fault": "timeout"}, {STATE}),
    "statuses": ({"statuses": (500, 599)}, {STATE}),
    "attempts": ({"least_attempts": 3, "most_attempts": 5}, {STATE}),
    "a time": ({"before": NOW - timedelta(days=1), "after": NOW - timedelta(days=2)}, {STATE}),
    "a text": ({"text": "failed"}, {STATE}),
    "a path": ({"path": "$.n > 3"}, {STATE}),
    "all apps": ({"app_ids": None}, {ENVIRONMENT}),
    "some apps": ({"app_ids": (APP, OTHERS[0])}, {ENVIRONMENT, STATE}),
    "all apps, a class": ({"app_ids": None, "error_classes": ("dns",)}, {ENVIRONMENT}),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(services: Services) -> AsyncIterator[Pool]:
    """Lend a database in which one app has half of some thousand letters."""
    async with plans.filled_database(services, fill) as pool:
        yield pool


async def fill(link: Link) -> None:
    records = []
    for n in range(LETTERS):
        at = NOW - timedelta(minutes=n)
        app = APP if n % 2 else OTHERS[n // 2 % 10]
        endpoint = ENDPOINT if n % 6 == 1 else f"ep_{n % 6}"
        fault = "timeout" if n % 10 == 3 else None
        records.append(
            (
                "org_1", app, ids.new_id(ids.DEAD_LETTER, at), ids.new_id(ids.MESSAGE, at),
                endpoint, "parked" if n % 4 else "discarded", "exhausted", f"a.{n % 5}",
                b'{"n": %d}' % n, "x", "u", None if fault else 500, fault, b"it failed",
                f"{n % 400:016x}", 1 + n % 7, at, at, at,
            )
        )  # fmt: skip
    columns = (
        "environment_id app_id id message_id endpoint_id state reason event_type payload"
        " content_type url status fault response fingerprint attempts message_at parked_at"
        " updated_at"
    )
    await link.copy_records_to_table("dead_letter", records=records, columns=columns.split())
    for table in ("dead_letter", "dead_letter_group", "dead_letter_hour"):
        await link.execute(f"VACUUM ANALYZE {table}")


class Told:
    """Stands before a connection and asks for the plan of whatever is sent to it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.plan: plans.Plan = []

    async def fetch(self, sql: str, *values: object, **_: object) -> list[Any]:
        self.plan += await plans.plan_of(self._link, sql, *values)
        return list(await self._link.fetch(sql, *values))

    async def fetchval(self, sql: str, *values: object, **_: object) -> Any:
        return (await self.fetch(sql, *values))[0][0]

    async def fetchrow(self, sql: str, *values: object, **_: object) -> Any:
        return (await self.fetch(sql, *values))[0]


def of_table(plan: plans.Plan, table: str) -> tuple[set[str], set[str]]:
    """Give how a table is read, and by which indexes."""
    mine = [node for node in plan if re.match(f"{table}_|{table}$", named(node))]
    return plans.kinds(mine), plans.indexes(mine)


def named(node: dict[str, Any]) -> str:
    return str(node.get("Relation Name", node.get("Index Name", "")))


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("asked", ASKED)
async def test_a_page_finds_its_ids_by_a_wide_index_alone_and_rows_by_their_keys(
    filled: Pool, asked: str, *, up: bool
) -> None:
    changes, indexes = ASKED[asked]
    wanted = Filter(**{"environment_id": "org_1", "app_ids": (APP,)} | changes)
    async with filled.acquire() as link:
        told: Any = Told(link)
        await search.page(told, wanted, Span(low="", high="~", up=up, limit=51))

    kinds, used = of_table(told.plan, "dead_letter")
    assert kinds <= {"Index Scan", "Index Only Scan"}
    assert used <= indexes | {"dead_letter_pkey"}
    assert "dead_letter_pkey" in used


@pytest.mark.parametrize("asked", ASKED)
async def test_a_count_reads_an_index(filled: Pool, asked: str) -> None:
    changes, _ = ASKED[asked]
    wanted = Filter(**{"environment_id": "org_1", "app_ids": (APP,)} | changes)
    async with filled.acquire() as link:
        told: Any = Told(link)
        await search.count(told, wanted, 100_000)

    kinds, used = of_table(told.plan, "dead_letter")
    assert used
    assert "Seq Scan" not in kinds


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("apps", [(APP,), None])
async def test_a_page_of_groups_comes_in_the_order_of_an_index(
    filled: Pool, apps: tuple[str, ...] | None, order: Order
) -> None:
    wanted = GroupFilter(environment_id="org_1", app_ids=apps)
    async with filled.acquire() as link:
        told: Any = Told(link)
        found = await groups.page(
            told, wanted, GroupSpan(order=order, behind=None, up=False, limit=51), NOW
        )

    assert len(found) == 51
    for table in ("dead_letter_group", "dead_letter_hour", "dead_letter"):
        assert "Seq Scan" not in of_table(told.plan, table)[0]


async def test_rejected_events_are_counted_by_an_index(filled: Pool) -> None:
    async with filled.acquire() as link:
        await link.execute(
            """INSERT INTO rejected_event (id, environment_id, app, subject, headers, body, reason,
                                           detail, sequence, created_at)
               SELECT 'rej_' || n, 'org_' || n % 9, 'a', 's', '{}', '', 'r', '', n, now()
               FROM generate_series(1, 5000) AS n"""
        )
        await link.execute("VACUUM ANALYZE rejected_event")
        told: Any = Told(link)
        await told.fetch(
            statements.load("rejected_event")["count"],
            *("org_1", "", "~", 100, True, "rejected", None, None),
        )

    kinds, used = of_table(told.plan, "rejected_event")
    assert kinds == {"Index Only Scan"}
    assert used == {"rejected_event_environment_idx"}


async def test_old_letters_and_groups_are_found_by_indexes(filled: Pool) -> None:
    sql = statements.load("upkeep")
    async with filled.acquire() as link:
        told: Any = Told(link)
        await told.fetch(sql["prune_letters"], NOW - timedelta(days=8), 100)

    kinds, used = of_table(told.plan, "dead_letter")
    assert "Seq Scan" not in kinds
    assert used == {"dead_letter_updated_idx", "dead_letter_pkey"}
