"""Every operation held to its description, by requests that are made of it, right and wrong.

Whatever is asked: no answer is our fault, none has a status, a type or a field that the description
does not have. The requests are about things that are there; and they are the same in every run.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.app import operations
from gateway.config import GatewayConfig
from gateway.openapi.contents import RESOURCES
from gateway.openapi.document import document
from gateway.openapi.shape import names_in
from schema import ids
from schema.delivery import State
from schema.store import task as tasks
from schema.task import Plan, Task, TaskKind, TaskState
from tests import rows
from tests.certificates import issue
from tests.gateway_server import CONFIG
from tests.tenants import Desk

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Of an operation, right ones and wrong ones; `scripts/fuzz` makes more.
RIGHT = int(os.environ.get("FUZZ_REQUESTS", "60"))
MOST = {GenerationMode.POSITIVE: RIGHT, GenerationMode.NEGATIVE: max(RIGHT // 6, 1)}
UID = "0"  # what requests name first
IDENTITY = issue(None).identity
ACCESS: Mapping[str, object] = {
    "mtls": {"identity": IDENTITY},
    "oauth": {
        "grantType": "clientCredentials",
        "authMethod": "clientSecretPost",
        "clientId": "c",
        "clientSecret": "s",
        "tokenUrl": "https://auth.example.com/token",
    },
}
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]


def strict(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Give the description, but that an answer has no field that is not described."""
    shapes = shown["components"]["schemas"]
    answered, ahead = set[str](), names_in(answers_of(shown))
    while ahead:
        name = ahead.pop()
        answered.add(name)
        ahead |= names_in(shapes[name]) - answered
    closed = {name: close(shape) if name in answered else shape for name, shape in shapes.items()}
    return {**shown, "components": {**shown["components"], "schemas": closed}}


def answers_of(shown: Mapping[str, Any]) -> list[object]:
    methods = [one for path in shown["paths"].values() for one in path.values()]
    return [one["responses"] for one in methods] + [shown["components"]["responses"]]


def close(shape: Any) -> Any:
    """Close every object of a shape that says which fields it has."""
    if isinstance(shape, list | tuple):
        return [close(one) for one in shape]
    if not isinstance(shape, Mapping):
        return shape
    closed = {name: close(value) for name, value in shape.items()}
    if isinstance(shape.get("properties"), Mapping) and shape.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


SCHEMA = schemathesis.openapi.from_dict(strict(document(operations(), RESOURCES)))
OPERATIONS: list[APIOperation] = [found.ok() for found in SCHEMA.get_all_operations()]


async def places(desk: Desk) -> dict[str, str]:
    """Put one of everything into the environment; give the ids, by the names of paths."""
    tenant = await desk.tenant(UID)
    await desk.link.execute("UPDATE endpoint SET uid = $1 WHERE id = $2", UID, tenant.endpoint_id)
    letter_id = await tenant.parked()
    letter = await tenant.letter(letter_id)
    message_id = await tenant.owed(State.RETRYING, attempts=1)
    at = rows.now()
    task = Task(
        environment_id=tenant.environment_id,
        id=ids.new_id(ids.TASK, at),
        app_id=tenant.app_id,
        kind=TaskKind.RECOVER,
        state=TaskState.SCHEDULED,
        plan=Plan(endpoint_id=tenant.endpoint_id, since=at),
        created_at=at,
        start_at=at,
        updated_at=at,
    )
    await tasks.create(desk.link, task)
    http = desk.gateway.http()
    for name in ("user.created", UID):
        kind = {"name": name, "description": ""}
        assert (await http.post("/api/v1/event-type", json=kind)).status_code == 201
    endpoint = f"/api/v1/app/{tenant.app_id}/endpoint/{tenant.endpoint_id}"
    assert (await http.post(f"{endpoint}/secret/rotate")).status_code == 200
    for part, body in ACCESS.items():
        assert (await http.put(f"{endpoint}/{part}", json=body)).status_code == 204
    management = "/api/v1/management/authentication"
    keys = f"{management}/{tenant.environment_id}/api-token"
    integrations = f"/api/v1/app/{tenant.app_id}/integration"
    rule = {"name": "r", "kind": "parked_count", "threshold": 5}
    return {
        "app_id": tenant.app_id,
        "endpoint_id": tenant.endpoint_id,
        "env_id": tenant.environment_id,
        "event_type_name": "user.created",
        "msg_id": message_id,
        "attempt_id": await tenant.tried(message_id, 500),
        "key_id": (await http.post(keys, json={"name": "k"})).json()["id"],
        "letter_id": letter_id,
        "group_id": str(letter["group_id"]),
        "rejected_id": await rows.rejected(desk.link, tenant.environment_id),
        "task_id": task.id,
        "integ_id": (await http.post(integrations, json={"name": "i"})).json()["id"],
        "sink_id": await poller(desk, tenant.app_id),
        "rule_id": (await http.post("/api/v1/alert-rule", json=rule)).json()["id"],
    }


async def poller(desk: Desk, app_id: str) -> str:
    http = desk.gateway.http()
    made = await http.post(f"/api/v1/app/{app_id}/poller", json={})
    sink_id = str(made.json()["id"])
    key = await http.post(f"/api/v1/auth/app/{app_id}/poller/{sink_id}/token/rotate", json={})
    assert key.status_code == 201
    return sink_id


async def operational_endpoint(desk: Desk) -> str:
    body = {"url": "https://ops.example.com/"}
    made = await desk.gateway.http().post("/api/v1/operational-webhook/endpoint", json=body)
    return str(made.json()["id"])


def requests_of(operation: APIOperation, known: Mapping[str, str]) -> Iterator[schemathesis.Case]:
    """Give requests, right ones and wrong ones, about things that are there."""
    for mode, most in MOST.items():
        found = SCHEMA.iter_coverage_cases(
            operation,
            generation_modes=[mode],
            generation_config=SCHEMA.config.generation_for(operation=operation),
        )
        cases = [case for case in found if case.method == operation.method.upper()]
        for case in cases[:: max(1, -(-len(cases) // most))]:
            case.path_parameters = {
                name: known.get(name, value) for name, value in case.path_parameters.items()
            }
            yield case


@pytest.fixture(scope="module")
def config() -> GatewayConfig:
    return replace(CONFIG, test_wait_s=0.1)  # there is no dispatcher


def is_well(response: requests.Response, operation: APIOperation) -> bool:
    waits = operation.path.endswith("/msg/test-attempt")
    return response.status_code < 500 or (waits and response.json()["code"] == "attempt_under_way")


@pytest.mark.parametrize("operation", OPERATIONS, ids=[one.label for one in OPERATIONS])
async def test_an_operation_answers_as_it_is_described(operation: APIOperation, desk: Desk) -> None:
    known = await places(desk)
    if "operational-webhook" in operation.path:
        known["endpoint_id"] = await operational_endpoint(desk)
    headers = {"authorization": f"Bearer {desk.gateway.key}"}

    def ask() -> None:
        with requests.Session() as session:
            for case in requests_of(operation, known):
                response = case.call(
                    base_url=desk.gateway.url, headers=headers, session=session, timeout=20
                )
                assert is_well(response, operation), (case.as_curl_command(), response.text)
                case.validate_response(response, checks=CHECKS)

    await asyncio.to_thread(ask)
