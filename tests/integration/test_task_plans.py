"""What a step of a task costs does not grow with the task, or with how many letters there are.

A dispatcher's plans are made once, when its first task begins, and kept until the tables are
analysed: those of tasks' own tables must be right however empty these were then. Letters are
analysed when a task begins.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from schema.store import task_step as step
from schema.store.link import Link, Pool
from tests import plans
from tests.plans import Plan
from tests.services import Services

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def nothing(_link: Link) -> None:
    """Leave the tables empty."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def empty(services: Services) -> AsyncIterator[Pool]:
    async with plans.filled_database(services, nothing, batches=True) as pool:
        yield pool


def conditions(plan: Plan, table: str) -> dict[str, str]:
    """Give what a table's indexes are asked for, by index."""
    return {
        node["Index Name"]: node.get("Index Cond", "")
        for node in plan
        if node.get("Relation Name") == table and "Index Name" in node
    }


async def test_what_became_of_items_is_looked_up_among_the_open_ones_and_noted_by_key(
    empty: Pool,
) -> None:
    async with empty.acquire() as link:
        asked = conditions(await plans.generic_plan(link, "task_step", "watch"), "task_item")

    assert asked.keys() == {"task_item_open_idx", "task_item_pkey"}
    assert "ROW(state, number) > ROW($2, $3)" in asked["task_item_open_idx"]
    assert "number = " in asked["task_item_pkey"]


async def test_attempts_are_counted_at_their_parts_by_key(empty: Pool) -> None:
    async with empty.acquire() as link:
        asked = conditions(await plans.generic_plan(link, "task_step", "count_tried"), "task_part")

    assert "number = " in asked["task_part_pkey"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(services: Services) -> AsyncIterator[Pool]:
    async with plans.filled_database(services, fill, batches=True) as pool:
        yield pool


async def fill(link: Link) -> None:
    """Give an app some thousand letters, and have them analysed as a task does."""
    await link.execute(
        """INSERT INTO dead_letter (app_id, id, message_id, endpoint_id, reason, event_type,
                                    payload, content_type, url, fingerprint, attempts, message_at,
                                    parked_at, updated_at)
           SELECT 'app_1', 'dl_' || n, 'msg_' || n, 'ep_' || n % 7, 'exhausted', 'a.b', '{}', 'x',
                  'u', n % 5, 1, now(), now(), now() FROM generate_series(1, 4000) AS n"""
    )
    assert await step.analyse_letters(link, 4_000)
    assert not await step.analyse_letters(link, 4_000)


@pytest.mark.parametrize(
    ("stem", "name", "index"),
    [
        ("settle", "redelivered", "dead_letter_app_id_message_id_endpoint_id_key"),
        ("task_step", "send_letters", "dead_letter_pkey"),
        ("task_step", "note_letters", "dead_letter_pkey"),
        ("task_step", "lock_letters", "dead_letter_pkey"),
        ("task_step", "restore", "dead_letter_pkey"),
        ("task_step", "discard", "dead_letter_pkey"),
        ("task_step", "purge", "dead_letter_pkey"),
    ],
)
async def test_letters_are_moved_by_key(filled: Pool, stem: str, name: str, index: str) -> None:
    async with filled.acquire() as link:
        asked = conditions(await plans.generic_plan(link, stem, name), "dead_letter")

    assert asked.keys() == {index}
    assert asked[index].count(" = ") == (3 if "message_id" in index else 2)
