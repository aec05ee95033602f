"""Svix's API, as facts in a table, and ours, as we describe it: what both have is compatible.

An operation of Svix's is either served, and then takes and answers at least what Svix's does, or
answered 501. Where we do otherwise on purpose it stands in one of the tables below.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from gateway import unserved
from gateway.app import operations
from gateway.openapi.contents import RESOURCES
from gateway.openapi.document import document

DOCUMENT: Final = document(operations(), RESOURCES)
TABLE: Final = Path(__file__).with_name("svix.tsv")
WORDS: Final = {"string": "text"}
# What a 2xx of ours is, where Svix's has another: the SDKs take either.
OTHER_STATUS: Final = {
    "v1.health.get": "200 says how each part is, where Svix answers 204",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    fields: Mapping[str, set[str]]
    of_item: Mapping[str, set[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One operation of Svix's."""

    method: str
    path: str
    id: str
    query: set[str]
    needed: set[str]
    body: Mapping[str, set[str]]
    answers: tuple[Answer, ...]

    @property
    def ours(self) -> dict[str, Any] | None:
        """Give what we say of the same operation."""
        for path, methods in DOCUMENT["paths"].items():
            if bare(path) == bare(self.path) and self.method.lower() in methods:
                found: dict[str, Any] = methods[self.method.lower()]
                return found
        return None


UNSERVED: Final = unserved.table()


def bare(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path)


def facts() -> Iterator[Fact]:
    for line in TABLE.read_text().splitlines():
        if not line.startswith("#"):
            method, path, ident, query, body, answers = line.split("\t")
            fields = [field.partition(":") for field in body.split()]
            yield Fact(
                method=method,
                path=path,
                id=ident,
                query={name.removesuffix("!") for name in query.split()},
                needed={name[:-1] for name, _, _ in fields if name.endswith("!")},
                body={name.removesuffix("!"): set(kind.split("|")) for name, _, kind in fields},
                answers=tuple(read_answer(text) for text in answers.split(" ; ")),
            )


def read_answer(text: str) -> Answer:
    whole, _, of_item = text.partition(" / ")
    status, *fields = whole.split(" ")
    return Answer(
        status=int(status), fields=read_fields(fields), of_item=read_fields(of_item.split())
    )


def read_fields(fields: list[str]) -> dict[str, set[str]]:
    parted = (field.partition(":") for field in fields)
    return {name: set(kind.split("|")) for name, _, kind in parted}


def resolved(shape: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference to the shape that it means."""
    while "$ref" in shape:
        shape = DOCUMENT["components"]["schemas"][shape["$ref"].rpartition("/")[2]]
    return shape


def kinds(shape: Mapping[str, Any]) -> set[str]:
    """Give the types that a shape allows."""
    shape = resolved(shape)
    if "anyOf" in shape:
        return set[str]().union(*(kinds(one) for one in shape["anyOf"]))
    named = shape.get("type", "any")
    return {WORDS.get(kind, kind) for kind in (named if isinstance(named, list) else [named])}


def body_of(shown: Mapping[str, Any]) -> Mapping[str, Any]:
    content = shown.get("requestBody", {}).get("content", {})
    return resolved(content.get("application/json", {}).get("schema", {}))


def answer_of(shown: Mapping[str, Any], status: int) -> Mapping[str, Any]:
    content = shown["responses"][str(status)].get("content", {})
    return resolved(content.get("application/json", {}).get("schema", {}))


def lacking(shape: Mapping[str, Any], fields: Mapping[str, set[str]]) -> set[str]:
    """Give the required fields that a shape of ours does not promise, or of another type."""
    return {
        f"{name}: {'|'.join(sorted(wanted))}"
        for name, wanted in fields.items()
        if name not in shape.get("required", ()) or not kinds(shape["properties"][name]) <= wanted
    }


ALL: Final = list(facts())
BOTH: Final = [(fact, fact.ours) for fact in ALL if fact.ours is not None]
BOTH_IDS: Final = [fact.id for fact, _ in BOTH]


def test_the_table_is_whole() -> None:
    assert len(ALL) > 250
    assert len(BOTH) > 50
    assert len({fact.id for fact in ALL}) == len(ALL)


def test_what_we_do_otherwise_is_of_operations_that_we_serve() -> None:
    assert OTHER_STATUS.keys() <= set(BOTH_IDS)


@pytest.mark.parametrize("fact", ALL, ids=[fact.id for fact in ALL])
def test_what_svix_has_is_served_or_answered_501(fact: Fact) -> None:
    served = fact.ours is not None
    missing = UNSERVED.find(fact.method, fact.path) is not None

    assert served or missing, "serve it, or say in gateway/unserved.py what to use instead"


@pytest.mark.parametrize(("fact", "ours"), BOTH, ids=BOTH_IDS)
def test_an_operation_has_svix_id_and_takes_its_query(fact: Fact, ours: dict[str, Any]) -> None:
    taken = {one["name"] for one in ours["parameters"] if one["in"] == "query"}

    assert ours["operationId"] == fact.id
    assert fact.query <= taken


@pytest.mark.parametrize(("fact", "ours"), BOTH, ids=BOTH_IDS)
def test_an_operation_reads_svix_fields_and_needs_no_more(fact: Fact, ours: dict[str, Any]) -> None:
    shape = body_of(ours)
    taken: Mapping[str, Any] = shape.get("properties", {})

    assert fact.body.keys() <= taken.keys()
    assert set(shape.get("required", ())) <= fact.needed
    for name in fact.body:
        assert fact.body[name] - {"any"} <= kinds(taken[name]), name


@pytest.mark.parametrize(("fact", "ours"), BOTH, ids=BOTH_IDS)
def test_an_operation_answers_what_svix_promises(fact: Fact, ours: dict[str, Any]) -> None:
    statuses = {int(status) for status in ours["responses"] if status.startswith("2")}

    for answer in fact.answers:
        if fact.id in OTHER_STATUS:
            assert answer.status not in statuses, "this is no deviation any more"
            continue
        assert answer.status in statuses
        shape = answer_of(ours, answer.status)
        assert not lacking(shape, answer.fields)
        if answer.of_item:
            item = resolved(shape["properties"]["data"]["items"])
            assert not lacking(item, answer.of_item)
