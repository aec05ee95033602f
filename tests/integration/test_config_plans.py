"""What a request looks up of its tenant keeps to its indexes: plans on filled tables."""

import hashlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from schema import ids
from schema.certificate import CertificateKind
from schema.store import statements
from schema.store.link import Link, Pool
from schema.store.reconciliation import FIRST, LAST
from tests import plans
from tests.services import Services

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = datetime.now(UTC)
ENVIRONMENTS = [ids.new_id(ids.ENVIRONMENT, NOW) for _ in range(20)]
APPS = [(ENVIRONMENTS[n % 20], ids.new_id(ids.APP, NOW), f"uid-{n}") for n in range(4_000)]
ENDPOINTS = [
    (app, ids.new_id(ids.ENDPOINT, NOW), f"uid-{n}") for _, app, _ in APPS for n in range(3)
]
ENVIRONMENT, APP, APP_UID = APPS[2_000]
ENDPOINT, ENDPOINT_UID = ENDPOINTS[6_000][1:]
MESSAGE = ids.new_id(ids.MESSAGE, NOW)
INTEGRATION = ids.new_id(ids.INTEGRATION, NOW)
KINDS = [kind.value for kind in CertificateKind]
KEYS = [ids.new_id(ids.API_KEY, NOW) for _ in range(4_000)]
HASHES = [hashlib.sha256(key.encode()).digest() for key in KEYS]
# Statement, parameters, and the indexes that may serve it.
LOOK_UPS: list[tuple[str, str, list[Any], set[str]]] = [
    ("api_key", "by_hash", [HASHES[9]], {"api_key_hash_key", "environment_pkey"}),
    ("api_key", "page_up", [ENVIRONMENT, "", "operator", "", 51, NOW], {"api_key_owner_idx"}),
    ("api_key", "page_down", [ENVIRONMENT, APP, "app", "~", 51, NOW], {"api_key_owner_idx"}),
    ("api_key", "revoke_of_app", [ENVIRONMENT, APP, NOW], {"api_key_owner_idx"}),
    ("api_key", "end_portal", [ENVIRONMENT, APP, NOW, None], {"api_key_owner_idx"}),
    (
        "api_key",
        "revoke_of_integration",
        [ENVIRONMENT, APP, INTEGRATION, NOW],
        {"api_key_owner_idx"},
    ),
    ("api_key", "flag_integration", [ENVIRONMENT, APP, INTEGRATION, []], {"api_key_owner_idx"}),
    ("api_key", "of_poller", [ENVIRONMENT, APP, "poll_1", NOW], {"api_key_owner_idx"}),
    ("api_key", "end_of_poller", [ENVIRONMENT, APP, "poll_1", NOW], {"api_key_owner_idx"}),
    (
        "api_key",
        "exchange",
        [KEYS[9], HASHES[9], b"new", NOW, "hint"],
        {"api_key_pkey", "api_key_hash_key"},
    ),
    ("api_key", "touch", [[KEYS[1]], [NOW]], {"api_key_pkey"}),
    ("app", "by_id", [ENVIRONMENT, APP], {"app_pkey", "app_id_key"}),
    ("app", "by_uid", [ENVIRONMENT, APP_UID], {"app_uid_idx"}),
    ("app", "named", [ENVIRONMENT, [APP, APP_UID]], {"app_pkey", "app_id_key", "app_uid_idx"}),
    (
        "statistics",
        "attempts",
        [ENVIRONMENT, "", 9, NOW, NOW, None],
        {"app_pkey", "rollup_minute_pkey"},
    ),
    ("statistics", "subscriptions", [ENVIRONMENT, "", 9], {"app_pkey", "endpoint_pkey"}),
    ("statistics", "attempted", [APP, NOW, NOW, 3_600], {"rollup_minute_pkey"}),
    ("type_count", "by_type", [APP, NOW, NOW, None, 9], {"rollup_type_pkey"}),
    ("type_count", "by_period", [APP, NOW, NOW, 3_600, ["a"]], {"rollup_type_pkey"}),
    ("statistics", "endpoints", [ENVIRONMENT, True], {"app_pkey", "endpoint_pkey"}),
    ("statistics", "active_apps", [ENVIRONMENT, True, True], {"app_pkey", "endpoint_pkey"}),
    ("app", "page_up", [ENVIRONMENT, "", 51, True, True, True], {"app_pkey", "endpoint_pkey"}),
    ("app", "page_down", [ENVIRONMENT, "~", 51, True, True, True], {"app_pkey", "endpoint_pkey"}),
    ("endpoint", "by_id", [APP, ENDPOINT], {"endpoint_pkey"}),
    ("endpoint", "number_of", [APP, 50], {"endpoint_pkey"}),
    ("endpoint", "by_uid", [APP, ENDPOINT_UID], {"endpoint_uid_idx"}),
    ("endpoint", "page_up", [APP, "", 51], {"endpoint_pkey"}),
    ("endpoint", "page_down", [APP, "~", 51], {"endpoint_pkey"}),
    ("endpoint", "takes", [APP, "type.1", None], {"endpoint_pkey"}),
    ("app", "ids_behind", [ENVIRONMENT, "", 100], {"app_pkey"}),
    ("endpoint", "delete_all", [APP, NOW], {"endpoint_pkey"}),
    ("endpoint", "attempted", [APP, ENDPOINT, NOW, NOW], {"rollup_minute_pkey"}),
    ("endpoint_secret", "live", [APP, ENDPOINT, NOW], {"endpoint_secret_pkey"}),
    (
        "endpoint_certificate",
        "find",
        [APP, ENDPOINT, "identity"],
        {"endpoint_certificate_pkey"},
    ),
    (
        "endpoint_certificate",
        "ending",
        [NOW - timedelta(days=1), NOW - timedelta(hours=1)],
        {"endpoint_certificate_ends_idx"},
    ),
    ("endpoint_oauth", "find", [APP, ENDPOINT], {"endpoint_oauth_pkey"}),
    ("endpoint_oauth", "refresh_token", [APP, ENDPOINT, 1], {"endpoint_oauth_pkey"}),
    ("endpoint_oauth", "rotate", [APP, ENDPOINT, 1, 0, b"r"], {"endpoint_oauth_pkey"}),
    (
        "directory",
        "endpoints",
        [[APP]],
        {"endpoint_pkey", "endpoint_certificate_pkey", "endpoint_oauth_pkey"}
        | {"endpoint_transformation_pkey"},
    ),
    ("transformation", "find", [APP, ENDPOINT], {"endpoint_transformation_pkey"}),
    ("transformation", "delete_all", [APP, [ENDPOINT]], {"endpoint_transformation_pkey"}),
    ("integration", "page_up", [APP, "", 51], {"integration_pkey"}),
    ("integration", "page_down", [APP, "~", 51], {"integration_pkey"}),
    ("integration", "delete_all", [APP], {"integration_pkey"}),
    ("revoked_token", "ends_at", [APP, "jwt_1", NOW], {"revoked_token_pkey"}),
    ("upkeep", "prune_keys", [NOW - timedelta(days=1)], {"api_key_portal_idx"}),
    ("upkeep", "prune_tokens", [NOW - timedelta(days=1)], {"revoked_token_forget_idx"}),
    ("event_type", "find", [ENVIRONMENT, "type.1"], {"event_type_pkey"}),
    (
        "reconciliation",
        "page_up",
        [ENVIRONMENT, *FIRST, *LAST, 51, None, False],
        {"reconciliation_environment_idx", "app_id_key"},
    ),
    (
        "reconciliation",
        "page_down",
        [ENVIRONMENT, *FIRST, *LAST, 51, None, False],
        {"reconciliation_environment_idx", "app_id_key"},
    ),
    ("reconciliation", "difference", [], {"reconciliation_difference_idx"}),
    ("event_type", "page_up", [ENVIRONMENT, "", 51, False, None, False], {"event_type_pkey"}),
    ("event_type", "page_down", [ENVIRONMENT, "~", 51, False, ["x"], False], {"event_type_pkey"}),
    ("event_type", "usable", [ENVIRONMENT, ["type.1"], None], {"event_type_pkey"}),
    ("event_type", "checked", [ENVIRONMENT], {"event_type_checked_idx"}),
    ("event_type", "policies", [[ENVIRONMENT]], {"event_type_policy_idx"}),
    ("event_type", "export", [ENVIRONMENT, 500, ""], {"event_type_pkey"}),
]
# A handful of rows of one endpoint, which an index finds and which are then put in order; or the
# minutes of one app, or its event types, to be put together.
SORTED = {
    ("endpoint_secret", "live"),
    ("statistics", "subscriptions"),
    ("statistics", "attempted"),
    ("type_count", "by_type"),
    ("type_count", "by_period"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(services: Services) -> AsyncIterator[Pool]:
    """Lend a database with some thousand rows in every table, and honest statistics."""
    async with plans.filled_database(services, fill) as pool:
        yield pool


def owner_of(number: int) -> tuple[object, ...]:
    """Make every fourth key a portal's, which has ended."""
    environment, app, _ = APPS[number]
    of_portal = number % 4 == 0
    return (environment, app, "portal", NOW) if of_portal else (environment, None, "operator", None)


async def fill(link: Link) -> None:
    times = (NOW, NOW)
    rows: dict[str, tuple[list[Any], str]] = {
        "environment": (
            [(environment, "x", *times) for environment in ENVIRONMENTS],
            "id name created_at updated_at",
        ),
        "app": (
            [(*app, "x", *times) for app in APPS],
            "environment_id id uid name created_at updated_at",
        ),
        "endpoint": (
            [(*endpoint, "u", NOW, *times) for endpoint in ENDPOINTS],
            "app_id id uid url state_at created_at updated_at",
        ),
        "endpoint_secret": (
            [(app, e, ids.new_id(ids.ENDPOINT_SECRET, NOW), "hmac256", b"s", NOW)
             for app, e, _ in ENDPOINTS],
            "app_id endpoint_id id kind sealed created_at",
        ),
        "endpoint_certificate": (
            [(app, e, kind, b"c", NOW, NOW) for app, e, _ in ENDPOINTS for kind in KINDS],
            "app_id endpoint_id kind content ends_at updated_at",
        ),
        "endpoint_oauth": (
            [(app, e, b"c", NOW) for app, e, _ in ENDPOINTS],
            "app_id endpoint_id config updated_at",
        ),
        "endpoint_transformation": (
            [(app, e, "function handler(w) {}", True, NOW) for app, e, _ in ENDPOINTS],
            "app_id endpoint_id code enabled updated_at",
        ),
        "message": (
            [(app, ids.new_id(ids.MESSAGE, NOW), "type.1", "x", NOW) for app, *_ in ENDPOINTS],
            "app_id id event_type content_type created_at",
        ),
        "event_type": (
            [(e, f"type.{n}", *times) for e in ENVIRONMENTS for n in range(200)],
            "environment_id name created_at updated_at",
        ),
        "api_key": (
            [(key, *owner_of(n), HASHES[n], "x", NOW) for n, key in enumerate(KEYS)],
            "id environment_id app_id kind expires_at hash hint created_at",
        ),
        "integration": (
            [(app, ids.new_id(ids.INTEGRATION, NOW), "x", b"s", *times) for _, app, _ in APPS],
            "app_id id name sealed created_at updated_at",
        ),
        "revoked_token": (
            [(app, f"jwt_{n}", NOW, NOW, NOW) for _, app, _ in APPS for n in range(2)],
            "app_id token issued_before ends_at forget_at",
        ),
        "reconciliation": (
            [(NOW.date() - timedelta(days=n), app, e, 9) for e, app, _ in APPS for n in range(3)],
            "day app_id environment_id accepted",
        ),
        "rollup_minute": (
            [(app, endpoint, NOW) for app, endpoint, _ in ENDPOINTS],
            "app_id endpoint_id bucket",
        ),
        "rollup_type": (
            [(app, NOW, f"type.{n}") for _, app, _ in APPS for n in range(5)],
            "app_id bucket event_type",
        ),
    }  # fmt: skip
    for table, (records, columns) in rows.items():
        await link.copy_records_to_table(table, records=records, columns=columns.split())
    await link.execute("ANALYZE")


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize(
    ("stem", "name", "given", "indexes"), LOOK_UPS, ids=[f"{s}.{n}" for s, n, *_ in LOOK_UPS]
)
async def test_a_look_up_keeps_to_its_index(
    filled: Pool, stem: str, name: str, given: list[Any], indexes: set[str], *, generic: bool
) -> None:
    async with filled.acquire() as link:
        plan = await plans.plan_of(link, statements.load(stem)[name], *given, generic=generic)

    # Environments are a handful: reading the one page they fill is as good as an index.
    assert plans.scanned(plan) <= {"environment"}
    assert (stem, name) in SORTED or not plans.kinds(plan) & {"Sort", "Incremental Sort"}
    assert plans.indexes(plan) <= indexes


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
async def test_what_is_to_be_run_is_looked_up_by_keys(filled: Pool, *, generic: bool) -> None:
    given = [[APP], [ENDPOINT], [MESSAGE], MESSAGE, MESSAGE]
    due = statements.load("transformation")["due"]

    async with filled.acquire() as link:
        plan = await plans.plan_of(link, due, *given, generic=generic)

    assert not plans.scanned(plan)
    by_key = re.compile("endpoint_transformation_pkey|message_([0-9]{8}|default)_pkey")
    assert all(by_key.fullmatch(index) for index in plans.indexes(plan))
