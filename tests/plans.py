"""The plans of statements, as the dispatcher's connections make them: whatever the parameters."""

import json
from collections.abc import Iterator
from typing import Any

from schema.store import statements
from schema.store.link import Link

# Sent by itself, a statement with parameters wants values, and is planned for them.
EXPLAIN = """
CREATE OR REPLACE FUNCTION pg_temp.explain(statement text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (GENERIC_PLAN, FORMAT JSON) ' || statement INTO plan;
    RETURN plan;
END $$"""


async def generic_plan(link: Link, stem: str, name: str) -> list[dict[str, Any]]:
    """Give the nodes of the plan that the dispatcher's connections use, whatever the parameters."""
    await link.execute(EXPLAIN)
    answer = await link.fetchval("SELECT pg_temp.explain($1)", statements.load(stem)[name])
    return list(nodes(json.loads(answer)[0]["Plan"]))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)
