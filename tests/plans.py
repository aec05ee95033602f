"""The plans of statements, and what they say: which tables are read whole, which indexes are used.

A plan is the list of its nodes, as EXPLAIN tells them.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from schema.store import statements
from schema.store.link import Link, Pool
from schema.store.pool import open_pool
from tests.services import Services

Plan: TypeAlias = list[dict[str, Any]]

# Sent by itself, a statement with parameters wants values, and is planned for them.
EXPLAIN = """
CREATE OR REPLACE FUNCTION pg_temp.explain(statement text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (GENERIC_PLAN, FORMAT JSON) ' || statement INTO plan;
    RETURN plan;
END $$"""


@asynccontextmanager
async def filled_database(
    services: Services, fill: Callable[[Link], Awaitable[None]], *, batches: bool = False
) -> AsyncIterator[Pool]:
    """Lend a database with rows; `batches` gives connections as the dispatcher's."""
    async with (
        services.database() as url,
        await open_pool(url, size=2, batches=batches) as pool,
    ):
        async with pool.acquire() as link:
            await fill(link)
        yield pool


async def generic_plan(link: Link, stem: str, name: str) -> Plan:
    """Give the plan that the dispatcher's connections use, whatever the parameters."""
    await link.execute(EXPLAIN)
    return read(await link.fetchval("SELECT pg_temp.explain($1)", statements.load(stem)[name]))


async def plan_of(link: Link, sql: str, *values: object, generic: bool = False) -> Plan:
    """Give the plan of a statement, for these values or for any."""
    option = "GENERIC_PLAN, " if generic else ""
    return read(await link.fetchval(f"EXPLAIN ({option}FORMAT JSON) {sql}", *values))


def read(answer: str) -> Plan:
    return list(_nodes(json.loads(answer)[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", []):
        yield from _nodes(below)


async def parents(link: Link) -> dict[str, str]:
    """Give the table or index that each partition's is a part of."""
    found = await link.fetch(
        """SELECT inhrelid::regclass::text AS child, inhparent::regclass::text AS parent
           FROM pg_inherits"""
    )
    return {row["child"]: row["parent"] for row in found}


def kinds(plan: Plan) -> set[str]:
    return {node["Node Type"] for node in plan}


def scanned(plan: Plan, part_of: Mapping[str, str] | None = None) -> set[str]:
    """Give the tables that are read whole; those of partitions, if these are told."""
    whole = [node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"]
    return {(part_of or {}).get(table, table) for table in whole}


def indexes(plan: Plan, part_of: Mapping[str, str] | None = None) -> set[str]:
    """Give the indexes that are used; those of partitions, if these are told."""
    used = [node["Index Name"] for node in plan if "Index Name" in node]
    return {(part_of or {}).get(index, index) for index in used}
