"""The OpenAPI document: whole, valid, and of exactly what is served."""

import json
from collections import Counter

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.app import operations
from gateway.openapi.contents import RESOURCES
from gateway.openapi.document import document, example_of, place_of, said_of
from gateway.openapi.examples import EXAMPLES
from gateway.openapi.shape import name_of
from gateway.openapi.webhooks import EVENTS
from gateway.routes import docs_page, openapi
from schema.operational import Kind

# What tells about the API is no part of it.
ABOUT = {place_of(operation) for operation in (*openapi.routes([]), *docs_page.routes())}
PLACES = [place for place in map(place_of, operations()) if place not in ABOUT]
DOCUMENT = document(operations(), RESOURCES)
SAID = said_of(RESOURCES)


def test_every_operation_is_described() -> None:
    missing = set(PLACES) - SAID.keys()

    assert not missing, f"add to `operations` of a Resource in gateway/openapi/: {sorted(missing)}"


def test_nothing_is_described_that_is_not_there() -> None:
    assert not SAID.keys() - set(PLACES)


def test_no_two_operations_have_one_id() -> None:
    ids = Counter(said.id for _, said in SAID.values())

    assert not [ident for ident, times in ids.items() if times > 1]


def test_no_two_resources_have_shapes_of_one_name() -> None:
    names = Counter(name for resource in RESOURCES for name in resource.shapes)

    assert not [name for name, times in names.items() if times > 1]


def test_every_shape_is_of_use() -> None:
    named = {name for resource in RESOURCES for name in resource.shapes}

    assert not named - DOCUMENT["components"]["schemas"].keys()


def test_every_body_has_an_example_and_every_example_is_of_a_body() -> None:
    bodies = {name_of(said.body) for _, said in SAID.values() if said.body}

    assert bodies == EXAMPLES.keys()


@pytest.mark.parametrize("place", [p for p, (_, said) in SAID.items() if said.body])
def test_an_example_is_as_its_body_s_shape_says(place: str) -> None:
    said = SAID[place][1]
    assert said.body is not None
    validator = Draft202012Validator({**said.body, "components": DOCUMENT["components"]})
    known = DOCUMENT["components"]["schemas"][name_of(said.body)]["properties"]
    example = example_of(said)

    assert example is not None
    assert [fault.message for fault in validator.iter_errors(example)] == []
    assert example.keys() <= known.keys()


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(json.loads(json.dumps(DOCUMENT))).validate()


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_shape_is_a_json_schema(name: str) -> None:
    Draft202012Validator.check_schema(DOCUMENT["components"]["schemas"][name])


def test_every_operational_event_is_described_as_a_webhook() -> None:
    assert EVENTS.keys() == set(Kind)
    assert list(DOCUMENT["webhooks"]) == list(Kind)


def test_only_what_asks_no_key_says_so() -> None:
    of_anybody = {
        f"{method.upper()} {path}"
        for path, methods in DOCUMENT["paths"].items()
        for method, shown in methods.items()
        if shown.get("security") == []
    }

    assert of_anybody == {"GET /api/v1/health", "GET /api/v1/health/ping", "GET /metrics"}
