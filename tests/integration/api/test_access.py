"""Every operation there is, tried with the wrong key: the guard has no gap."""

import pytest
import pytest_asyncio
from svix.api import ApplicationIn, EndpointIn

from gateway.app import operations
from gateway.auth import Access
from gateway.routing import Operation
from schema import ids
from schema.api_key import KeyKind
from tests.gateway_server import Gateway, make_environment, make_key, now

pytestmark = pytest.mark.asyncio(loop_scope="module")
lent_to_the_module = pytest_asyncio.fixture(scope="module", loop_scope="module")

GUARDED = [operation for operation in operations() if isinstance(operation, Operation)]


def of(access: Access) -> list[Operation]:
    return [operation for operation in GUARDED if operation.access is access]


def name(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


@lent_to_the_module
async def places(shared: Gateway) -> dict[str, str]:
    """Give ids of things that are there, for the paths."""
    svix = shared.svix()
    app = await svix.application.create(ApplicationIn(name="One"))
    endpoint = await svix.endpoint.create(app.id, EndpointIn(url="https://a.example.com/"))
    return {
        "app_id": app.id,
        "endpoint_id": endpoint.id,
        "env_id": shared.environment_id,
        "event_type_name": "a",
        "msg_id": ids.new_id(ids.MESSAGE, now()),
        "attempt_id": ids.new_id(ids.ATTEMPT, now()),
        "key_id": ids.new_id(ids.API_KEY, now()),
        "letter_id": ids.new_id(ids.DEAD_LETTER, now()),
        "group_id": "dlg_" + "0" * 27,
        "rejected_id": ids.new_id(ids.REJECTED_EVENT, now()),
        "task_id": ids.new_id(ids.TASK, now()),
        "rule_id": ids.new_id(ids.ALERT_RULE, now()),
    }


@lent_to_the_module
async def others(shared: Gateway) -> dict[str, str]:
    """Give keys that count, none of them for the app of `places`."""
    svix = shared.svix()
    app = await svix.application.create(ApplicationIn(name="Other"))
    pool, home, away = shared.pool, shared.environment_id, await make_environment(shared.pool)
    return {
        "another app's": await make_key(pool, home, kind=KeyKind.APP, app_id=app.id),
        "another app's portal's": await make_key(pool, home, kind=KeyKind.PORTAL, app_id=app.id),
        "another environment's": await make_key(pool, away),
    }


async def status(
    shared: Gateway, operation: Operation, places: dict[str, str], key: str
) -> tuple[int, str]:
    path = operation.path.format_map(places)
    async with shared.http(key) as http:
        answered = await http.request(operation.method, path, json={})
    return answered.status_code, answered.json()["code"]


@pytest.mark.parametrize("operation", GUARDED, ids=name)
async def test_nothing_is_done_without_a_key(
    shared: Gateway, places: dict[str, str], operation: Operation
) -> None:
    assert await status(shared, operation, places, "none") == (401, "authentication_failed")


@pytest.mark.parametrize("operation", of(Access.OPERATOR) + of(Access.INSTALLATION), ids=name)
async def test_a_key_of_an_app_does_no_operators_work(
    shared: Gateway, places: dict[str, str], others: dict[str, str], operation: Operation
) -> None:
    for holder in ("another app's", "another app's portal's"):
        got = await status(shared, operation, places, others[holder])
        assert got == (403, "insufficient access"), holder


@pytest.mark.parametrize("operation", of(Access.INSTALLATION), ids=name)
async def test_a_key_of_one_environment_does_not_manage_the_installation(
    shared: Gateway, places: dict[str, str], others: dict[str, str], operation: Operation
) -> None:
    got = await status(shared, operation, places, others["another environment's"])

    assert got == (403, "insufficient access")


@pytest.mark.parametrize(
    "operation", [o for o in of(Access.TENANT) if "{app_id}" in o.path], ids=name
)
async def test_an_app_is_not_there_for_the_key_of_another(
    shared: Gateway, places: dict[str, str], others: dict[str, str], operation: Operation
) -> None:
    for holder, key in others.items():
        got = await status(shared, operation, places, key)
        assert got == (404, "not_found"), holder
