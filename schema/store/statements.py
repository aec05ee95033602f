"""Reads the `.sql` files beside this one: named statements, one file per table or duty.

A statement starts with `-- name: <name> :one|:many|:exec`; comment lines after it explain the
parameters and name the index that serves it. The text is handed to asyncpg as it stands.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

_HEADER = "-- name: "
_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement; `cardinality` is one, many or exec."""

    name: str
    cardinality: str
    sql: str


@cache
def load(stem: str) -> Mapping[str, str]:
    """Give the SQL texts of `<stem>.sql` by name."""
    return MappingProxyType({s.name: s.sql for s in read(_FOLDER / f"{stem}.sql")})


def read(path: Path) -> list[Statement]:
    """Read all statements of a file.

    Raises:
        ValueError: A statement has no cardinality or a name stands twice.
    """
    found = list(_split(path))
    names = [statement.name for statement in found]
    if len(set(names)) != len(names):
        msg = f"{path.name}: a statement's name stands twice"
        raise ValueError(msg)
    return found


def files() -> list[Path]:
    """List all statement files."""
    return sorted(_FOLDER.glob("*.sql"))


def _split(path: Path) -> Iterator[Statement]:
    head, lines = "", list[str]()
    for line in [*path.read_text().splitlines(), f"{_HEADER}end :exec"]:
        if not line.startswith(_HEADER):
            lines.append(line)
            continue
        if head:
            yield _statement(path, head, "\n".join(lines).strip())
        head, lines = line.removeprefix(_HEADER), []


def _statement(path: Path, head: str, sql: str) -> Statement:
    name, _, cardinality = head.partition(" :")
    if cardinality not in {"one", "many", "exec"}:
        msg = f"{path.name}: {name} needs :one, :many or :exec"
        raise ValueError(msg)
    return Statement(name=name, cardinality=cardinality, sql=sql.removesuffix(";"))
