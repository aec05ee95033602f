"""The OpenAPI document: whole, valid, and of exactly what is served."""

import json
from collections import Counter

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.app import operations
from gateway.openapi.contents import RESOURCES
from gateway.openapi.document import document, place_of, said_of
from gateway.openapi.webhooks import EVENTS
from gateway.routes import docs_page, openapi
from schema.operational import Kind

# What tells about the API is no part of it.
ABOUT = {place_of(operation) for operation in (*openapi.routes([]), *docs_page.routes())}
PLACES = [place for place in map(place_of, operations()) if place not in ABOUT]
DOCUMENT = document(operations(), RESOURCES)


def test_every_operation_is_described() -> None:
    missing = set(PLACES) - said_of(RESOURCES).keys()

    assert not missing, f"add to `operations` of a Resource in gateway/openapi/: {sorted(missing)}"


def test_nothing_is_described_that_is_not_there() -> None:
    assert not said_of(RESOURCES).keys() - set(PLACES)


def test_no_two_operations_have_one_id() -> None:
    ids = Counter(said.id for _, said in said_of(RESOURCES).values())

    assert not [ident for ident, times in ids.items() if times > 1]


def test_no_two_resources_have_shapes_of_one_name() -> None:
    names = Counter(name for resource in RESOURCES for name in resource.shapes)

    assert not [name for name, times in names.items() if times > 1]


def test_every_shape_is_of_use() -> None:
    named = {name for resource in RESOURCES for name in resource.shapes}

    assert not named - DOCUMENT["components"]["schemas"].keys()


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
