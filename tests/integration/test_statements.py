"""Every statement of every file prepares on the migrated schema, and says what it is."""

from pathlib import Path

import asyncpg
import pytest

from schema.store import statements
from schema.store.link import Pool


@pytest.mark.parametrize("path", statements.files(), ids=lambda path: path.stem)
async def test_the_statements_of_a_file_prepare(pool: Pool, path: Path) -> None:
    faults = []
    async with pool.acquire() as link:
        for statement in statements.read(path):
            try:
                prepared = await link.prepare(statement.sql)
            except asyncpg.PostgresError as error:
                faults.append(f"{statement.name}: {error}")
                continue
            gives_rows = bool(prepared.get_attributes())
            if gives_rows is (statement.cardinality == "exec"):
                faults.append(f"{statement.name}: :{statement.cardinality}, rows: {gives_rows}")

    assert faults == []


def test_there_are_statements() -> None:
    assert len(statements.files()) > 10
