"""The table of operations: who may call what, by Svix's rules (and ours for what is ours)."""

import pytest

from gateway.app import operations
from gateway.auth import Access
from gateway.routing import AnyOperation, OpenOperation, Operation, build
from gateway.scopes import APP_SCOPES, resource_of
from schema.api_key import Capability, allows
from schema.scope import ALL_SCOPES, Scope

ALL = operations()
OPERATORS_ONLY = {
    "GET /api/v1/app",
    "POST /api/v1/app",
    "PUT /api/v1/app/{app_id}",
    "PATCH /api/v1/app/{app_id}",
    "DELETE /api/v1/app/{app_id}",
    "GET /api/v1/app/{app_id}/alert-email",
    "PATCH /api/v1/app/{app_id}/alert-email",
    "POST /api/v1/event-type",
    "PUT /api/v1/event-type/{event_type_name}",
    "PATCH /api/v1/event-type/{event_type_name}",
    "DELETE /api/v1/event-type/{event_type_name}",
    "PUT /api/v1/event-type/{event_type_name}/retry-schedule",
    "POST /api/v1/event-type/import/openapi",
    "POST /api/v1/stats/usage/app",
    "GET /api/v1/app/stats/count-active",
    "GET /api/v1/stats/endpoint/count",
    "POST /api/v1/event-type/export/openapi",
    "GET /api/v1/events",
    "PUT /api/v1/stats/usage/event-types",
    "POST /api/v1/environment/export",
    "POST /api/v1/environment/import",
    "GET /api/v1/event-type/{event_type_name}/schema-fault",
    "DELETE /api/v1/event-type/{event_type_name}/schema-fault",
    "POST /api/v1/app/{app_id}/msg/bulk-expunge",
    "POST /api/v1/app/{app_id}/msg/expunge-all-contents",
    "POST /api/v1/app/{app_id}/msg/precheck/active",
    "POST /api/v1/app/{app_id}/endpoint/{endpoint_id}/send-example",
    "POST /api/v1/app/{app_id}/endpoint/{endpoint_id}/msg/test-attempt",
    "POST /api/v1/msg/broadcast",
    "DELETE /api/v1/app/{app_id}/msg/{msg_id}/content",
    "DELETE /api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content",
    "GET /api/v1/dead-letter",
    "GET /api/v1/dead-letter/count",
    "GET /api/v1/dead-letter/export",
    "POST /api/v1/dead-letter/redeliver",
    "POST /api/v1/dead-letter/discard",
    "POST /api/v1/dead-letter/purge",
    "GET /api/v1/dead-letter-group",
    "GET /api/v1/endpoint-health",
    "POST /api/v1/app/{app_id}/dead-letter/{letter_id}/reissue",
    "GET /api/v1/reconciliation",
    "POST /api/v1/auth/app-portal-access/{app_id}",
    "POST /api/v1/auth/dashboard-access/{app_id}",
    "POST /api/v1/auth/app/{app_id}/expire-all",
    "POST /api/v1/auth/app/{app_id}/create-message-token",
    "GET /api/v1/auth/app/{app_id}/api-token",
    "POST /api/v1/auth/app/{app_id}/api-token",
    "GET /api/v1/auth/app/{app_id}/api-token/{key_id}",
    "PUT /api/v1/auth/app/{app_id}/api-token/{key_id}",
    "PATCH /api/v1/auth/app/{app_id}/api-token/{key_id}",
    "POST /api/v1/auth/app/{app_id}/api-token/{key_id}/expire",
    "GET /api/v1/rejected-event",
    "GET /api/v1/rejected-event/count",
    "GET /api/v1/rejected-event/{rejected_id}",
    "POST /api/v1/rejected-event/{rejected_id}/discard",
    "POST /api/v1/rejected-event/{rejected_id}/resubmit",
}

SECRETS = {Capability.MANAGE_ENDPOINT_SECRET, Capability.MANAGE_ENDPOINT}
_ENDPOINT = "/api/v1/app/{app_id}/endpoint/{endpoint_id}"
_LETTERS = "/api/v1/app/{app_id}/dead-letter"
_POLLER_KEY = "/api/v1/auth/app/{app_id}/poller/{sink_id}/token"
SPECIAL = {
    f"GET {_ENDPOINT}/secret": Capability.VIEW_ENDPOINT_SECRET,
    f"POST {_ENDPOINT}/secret/rotate": Capability.MANAGE_ENDPOINT_SECRET,
    f"POST {_ENDPOINT}/auto-config/rotate": Capability.MANAGE_ENDPOINT_SECRET,
    f"GET {_POLLER_KEY}": Capability.VIEW_ENDPOINT_SECRET,
    f"POST {_POLLER_KEY}/rotate": Capability.MANAGE_ENDPOINT_SECRET,
    "POST /api/v1/app/{app_id}/msg/search": Capability.VIEW_BASE,
    f"POST {_ENDPOINT}/recover": Capability.CREATE_ATTEMPTS,
    f"POST {_ENDPOINT}/replay-missing": Capability.CREATE_ATTEMPTS,
    f"POST {_ENDPOINT}/bulk-replay": Capability.CREATE_ATTEMPTS,
    f"POST {_LETTERS}/redeliver": Capability.CREATE_ATTEMPTS,
    f"POST {_LETTERS}/{{letter_id}}/redeliver": Capability.CREATE_ATTEMPTS,
    "POST /api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend": (
        Capability.CREATE_ATTEMPTS
    ),
    **{
        f"POST /api/v1/app/{{app_id}}/task/{{task_id}}/{word}": Capability.CREATE_ATTEMPTS
        for word in ("pause", "resume", "cancel")
    },
    **dict.fromkeys(
        (f"GET {_ENDPOINT}/oauth", f"GET {_ENDPOINT}/oauth-config"),
        Capability.VIEW_ENDPOINT_SECRET,
    ),
    **dict.fromkeys(
        (
            f"{method} {_ENDPOINT}/{part}"
            for method in ("PUT", "DELETE")
            for part in ("mtls", "oauth")
        ),
        Capability.MANAGE_ENDPOINT_SECRET,
    ),
}


def name(operation: AnyOperation) -> str:
    return f"{operation.method} {operation.path}"


def of(access: Access) -> set[str]:
    return {name(o) for o in ALL if isinstance(o, Operation) and o.access is access}


def test_only_health_metrics_and_the_description_of_the_api_ask_no_key() -> None:
    assert {name(o) for o in ALL if isinstance(o, OpenOperation)} == {
        "GET /api/v1/health",
        "GET /api/v1/health/ping",
        "GET /api/v1/openapi.json",
        "GET /docs",
        "GET /docs/{file}",
        "GET /metrics",
    }


def test_operators_alone_do_what_concerns_more_than_one_app() -> None:
    above = ("/api/v1/operational-", "/api/v1/alert-", "/api/v1/task", "/api/v1/background-task")
    told = {name(o) for o in ALL if o.path.startswith(above)}

    assert of(Access.OPERATOR) == OPERATORS_ONLY | told


def test_an_app_manages_its_integrations_by_its_own_key_and_a_portals_key_ends_itself() -> None:
    assert of(Access.SERVICE) == {name(o) for o in ALL if "/integration" in o.path}
    assert of(Access.PORTAL) == {"POST /api/v1/auth/logout", "POST /api/v1/auth/one-time-token"}


def test_messages_are_made_by_operators_and_by_keys_that_do_nothing_else() -> None:
    assert of(Access.PUBLISHER) == {
        "POST /api/v1/app/{app_id}/msg",
        "POST /api/v1/app/{app_id}/msg/bulk",
    }


def test_every_scope_is_of_some_operation_and_an_apps_key_takes_those_that_it_can_use() -> None:
    guarded = [o for o in ALL if isinstance(o, Operation)]
    of_apps = {Access.TENANT, Access.READER, Access.SERVICE, Access.PUBLISHER}

    assert {s for o in guarded for s in o.scopes} == {*Scope, ALL_SCOPES}
    assert {s for o in guarded if o.access in of_apps for s in o.scopes} == set(APP_SCOPES)
    assert {o.path for o in guarded if o.scopes == (ALL_SCOPES,)} == {
        o.path for o in guarded if o.access in {Access.INSTALLATION, Access.OWNER}
    }


@pytest.mark.parametrize(
    ("asked", "scope"),
    [
        ("GET /api/v1/app", "application:Read"),
        ("DELETE /api/v1/app/{app_id}", "application:Write"),
        ("PATCH /api/v1/app/{app_id}/endpoint/{endpoint_id}", "endpoint:Write"),
        ("GET /api/v1/app/{app_id}/endpoint/{endpoint_id}/headers", "endpoint:Read"),
        ("GET /api/v1/app/{app_id}/endpoint/{endpoint_id}/secret", "endpoint-secret:Read"),
        ("GET /api/v1/operational-webhook/endpoint/{endpoint_id}/secret", "endpoint-secret:Read"),
        ("GET /api/v1/app/{app_id}/endpoint/{endpoint_id}/ca", "endpoint:Read"),
        ("GET /api/v1/app/{app_id}/endpoint/{endpoint_id}/mtls-config", "endpoint-secret:Read"),
        ("PUT /api/v1/app/{app_id}/endpoint/{endpoint_id}/oauth", "endpoint-secret:Write"),
        (
            "PATCH /api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation",
            "endpoint-secret:Write",
        ),
        ("POST /api/v1/app/{app_id}/endpoint/{endpoint_id}/recover", "message-attempt:Write"),
        ("GET /api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}", "message-attempt:Read"),
        ("POST /api/v1/app/{app_id}/msg", "message:create"),
        ("GET /api/v1/app/{app_id}/msg", "message:Read"),
        ("POST /api/v1/msg/broadcast", "message:Write"),
        ("POST /api/v1/app/{app_id}/msg/search", "message:Read"),
        ("GET /api/v1/app/{app_id}/events", "message:Read"),
        ("GET /api/v1/events", "operational-webhook:Read"),
        ("GET /api/v1/app/{app_id}/integration/{integ_id}/key", "authentication:Write"),
        ("POST /api/v1/auth/app-portal-access/{app_id}", "authentication:Write"),
        ("POST /api/v1/environment/export", "environment:Read"),
        ("POST /api/v1/environment/import", "environment:Write"),
        ("GET /api/v1/app/stats/count-active", "statistics:Read"),
    ],
)
def test_an_operation_takes_the_scope_of_what_it_is_about(asked: str, scope: str) -> None:
    operation = next(o for o in ALL if isinstance(o, Operation) and name(o) == asked)

    assert operation.scopes[0] == scope


def test_group_admins_reach_nothing_of_an_app() -> None:
    reached = {o.path for o in ALL if isinstance(o, Operation) and not o.gate.of_app}
    roots = {path.removeprefix("/api/v1/").split("/")[0] for path in reached}

    assert not [path for path in reached if "{app_id}" in path]
    assert roots == {
        "alert-rule",
        "auth",
        "environment",
        "event-type",
        "events",
        "management",
        "operational-webhook",
    }


def test_a_path_of_which_nobody_said_what_it_is_about_is_no_operation() -> None:
    with pytest.raises(ValueError, match=r"gateway/scopes\.py"):
        resource_of("/api/v1/something/{id}")


def test_what_looks_takes_the_least_capability_and_what_changes_takes_most_unless_it_says() -> None:
    said = {
        name(o): o.needed
        for o in ALL
        if isinstance(o, Operation) and o.access is Access.TENANT and o.capability is not None
    }
    told = {o.method: o.needed for o in ALL if isinstance(o, Operation) and o.capability is None}

    assert said.items() >= SPECIAL.items()
    assert {said[key] for key in said.keys() - SPECIAL.keys()} <= {
        Capability.CREATE_ATTEMPTS,
        Capability.MANAGE_TRANSFORMATIONS,
    }
    assert told == {
        "GET": Capability.VIEW_BASE,
        **dict.fromkeys(("POST", "PUT", "PATCH", "DELETE"), Capability.MANAGE_ENDPOINT),
    }


def test_a_capability_takes_in_what_is_less() -> None:
    assert {
        needed: {held for held in Capability if allows([held], needed)} for needed in Capability
    } == {
        **{one: {one} for one in Capability},
        Capability.VIEW_ENDPOINT_SECRET: SECRETS | {Capability.VIEW_ENDPOINT_SECRET},
        Capability.MANAGE_ENDPOINT_SECRET: SECRETS,
    }
    assert all(allows(None, needed) for needed in Capability)


def test_management_is_for_the_installations_operators() -> None:
    assert of(Access.INSTALLATION) == {name(o) for o in ALL if "/management/" in o.path}


def test_a_tenants_operations_stay_within_an_app_or_read_what_all_may_see() -> None:
    outside = {operation for operation in of(Access.TENANT) if "{app_id}" not in operation}

    assert outside == {
        "GET /api/v1/auth/whoami",
        "GET /api/v1/environment/settings",
        "GET /api/v1/event-type",
        "GET /api/v1/event-type/{event_type_name}",
        "GET /api/v1/event-type/{event_type_name}/retry-schedule",
    }


def test_no_path_ends_with_a_slash() -> None:
    assert not [name(operation) for operation in ALL if operation.path.endswith("/")]


def test_an_operation_stands_in_the_table_once() -> None:
    with pytest.raises(ValueError, match="stands twice"):
        build([*ALL, ALL[0]])


def test_a_path_is_found_with_its_parameters_and_a_name_goes_before_a_parameter() -> None:
    table = build(ALL)

    assert found("POST", "/api/v1/app/a-1/msg/bulk") == {"app_id": "a-1"}
    assert found("GET", "/api/v1/app/a-1/msg/bulk") == {"app_id": "a-1", "msg_id": "bulk"}
    assert found("GET", "/api/v1/app/a/msg/m/attempt/t") == {
        "app_id": "a", "msg_id": "m", "attempt_id": "t"
    }  # fmt: skip
    assert found("HEAD", "/api/v1/app") == {}
    assert table.methods("/api/v1/app") == ["GET", "POST"]


@pytest.mark.parametrize(
    "path", ["", "/", "/api", "/api/v1/app//msg", "/api/v1/app/a/msg/m/x", "api/v1/app", "*"]
)
def test_what_is_no_path_of_ours_is_not_found(path: str) -> None:
    table = build(ALL)

    assert table.find("GET", path) is None
    assert table.methods(path) == []


@pytest.mark.parametrize("operation", ALL, ids=name)
def test_every_operation_is_found_at_its_path_and_no_other_answers_there(
    operation: AnyOperation,
) -> None:
    path = operation.path.replace("{", "").replace("}", "")

    parameters = found(operation.method, path)

    assert parameters is not None
    assert "/".join(f"{{{part}}}" if part in parameters else part for part in path.split("/")) == (
        operation.path
    )


def found(method: str, path: str) -> dict[str, str] | None:
    """Give the parameters of a path that an operation has."""
    answers = build(ALL).find(method, path)
    return None if answers is None else answers[1]
