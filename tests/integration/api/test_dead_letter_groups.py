"""Letters that failed alike are a group, counted exactly whoever does what to them, and worked."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from schema import ids
from schema.api_key import KeyKind
from schema.migrate import MIGRATIONS, migrate
from schema.store import dead_letter
from tests import rows
from tests.gateway_server import Gateway, make_key
from tests.services import Services
from tests.tenants import Desk, Tenant, another_desk

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
ONE, ALL = "/api/v1/app/one/dead-letter-group", "/api/v1/dead-letter-group"
LETTERS = "/api/v1/app/one/dead-letter"
FORMS = ("a" * 16, "b" * 16, "c" * 16)
COUNTED = """
    SELECT app_id, group_id AS id, count(*) FILTER (WHERE state = 'parked') AS parked,
           count(*) FILTER (WHERE state = 'redelivering') AS redelivering
    FROM dead_letter WHERE environment_id = $1 GROUP BY 1, 2"""
KEPT = """
    SELECT app_id, id, parked, redelivering FROM dead_letter_group WHERE environment_id = $1"""


async def groups(http: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await http.get(ONE, params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def the_group(http: httpx.AsyncClient) -> dict[str, Any]:
    (found,) = await groups(http)
    return found


async def move(http: httpx.AsyncClient, group: dict[str, Any], **body: Any) -> httpx.Response:
    return await http.patch(f"{ONE}/{group['id']}", json=body)


async def park_again(tenant: Tenant, letter_id: str, **other: Any) -> None:
    """Park a letter again in place, as settling does."""
    columns = {"state": "parked", "parked_at": rows.now(), "updated_at": rows.now()} | other
    settings = ", ".join(f"{name} = ${n}" for n, name in enumerate(columns, 2))
    await tenant.link.execute(
        f"UPDATE dead_letter SET {settings} WHERE id = $1", letter_id, *columns.values()
    )


def later(at: timedelta) -> str:
    return (rows.now() + at).isoformat()


class TestCounting:
    async def test_letters_that_failed_alike_at_an_endpoint_are_one_group(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        at = rows.now() - 2 * HOUR
        first = await tenant.parked(at, fingerprint=FORMS[0])
        last = await tenant.parked(
            at + HOUR, fingerprint=FORMS[0], response=b"oh no, again", detail="why"
        )
        await tenant.parked(at, fingerprint=FORMS[1], status=None, fault="dns", response=None)
        await tenant.parked(at, fingerprint=FORMS[0], endpoint_id=tenant.other_id)

        listed = await groups(http)

        group = listed[0]
        letter = (await http.get(f"{LETTERS}/{first}")).json()
        assert (len(listed), group["id"]) == (3, letter["groupId"])
        assert (group["appId"], group["endpointId"]) == (tenant.app_id, tenant.endpoint_id)
        assert (group["errorClass"], group["responseStatusCode"]) == ("http_5xx", 500)
        assert (group["fingerprint"], group["sampleLetterId"]) == (FORMS[0], last)
        assert (group["sampleResponse"], group["sampleDetail"]) == ("oh no, again", "why")
        assert (group["parked"], group["redelivering"], group["total"]) == (2, 0, 2)
        assert datetime.fromisoformat(group["firstSeenAt"]) == at
        assert datetime.fromisoformat(group["lastSeenAt"]) == at + HOUR
        assert (group["state"], group["stateBy"], group["snoozedUntil"]) == ("open", None, None)
        assert (await http.get(f"{ONE}/{group['id']}")).json() == group
        assert {other["errorClass"] for other in listed} == {"http_5xx", "dns"}

    async def test_the_trend_tells_of_the_last_24_hours(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        hour = rows.now().replace(minute=0, second=0, microsecond=0)
        for back, number in ((0, 1), (1, 2), (23, 3), (24, 4)):
            for _ in range(number):
                await tenant.parked(hour - back * HOUR)

        trend = (await the_group(http))["trend"]

        # The hour may have turned meanwhile.
        assert trend in ([3, *[0] * 21, 2, 1], [*[0] * 21, 2, 1, 0])

    async def test_what_is_done_to_letters_is_counted(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        letter = await tenant.parked()
        other = await tenant.parked()

        async def counts() -> tuple[int, int, int]:
            group = await the_group(http)
            return group["parked"], group["redelivering"], group["total"]

        assert await counts() == (2, 0, 2)
        await http.post(f"{LETTERS}/{letter}/redeliver")
        assert await counts() == (1, 1, 2)
        await park_again(tenant, letter)
        assert await counts() == (2, 0, 3)
        await http.post(f"{LETTERS}/{other}/discard")
        assert await counts() == (1, 0, 3)
        await tenant.link.execute("DELETE FROM dead_letter WHERE id = $1", letter)
        assert await counts() == (0, 0, 3)

    async def test_a_letter_that_fails_otherwise_changes_its_group(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        letter = await tenant.parked(fingerprint=FORMS[0])
        await http.post(f"{LETTERS}/{letter}/redeliver")

        await park_again(tenant, letter, fingerprint=FORMS[1])

        found = {group["fingerprint"]: group for group in await groups(http)}
        assert (found[FORMS[0]]["parked"], found[FORMS[0]]["redelivering"]) == (0, 0)
        assert (found[FORMS[0]]["state"], found[FORMS[1]]["state"]) == ("resolved", "open")
        assert (found[FORMS[1]]["parked"], found[FORMS[1]]["total"]) == (1, 1)

    async def test_what_changes_nothing_of_them_leaves_groups_alone(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await tenant.parked()
        version = "SELECT xmin::text FROM dead_letter_group WHERE app_id = $1"
        before = await tenant.link.fetchval(version, tenant.app_id)

        await tenant.link.execute(
            "UPDATE dead_letter SET response = NULL, updated_at = now() WHERE app_id = $1",
            tenant.app_id,
        )

        after = await tenant.link.fetchval(version, tenant.app_id)
        assert before == after
        assert (await the_group(http))["sampleResponse"] is None

    async def test_counts_stay_exact_while_many_do_many_things_at_once(
        self, shared: Gateway, desk: Desk
    ) -> None:
        tenants = [await desk.tenant(uid) for uid in ("one", "two")]
        dice = random.Random(7)
        letters = {
            tenant.app_id: [
                await tenant.parked(fingerprint=FORMS[n % 3]) for n in range(30)
            ]
            for tenant in tenants
        }  # fmt: skip

        async def work(seed: int) -> None:
            own = random.Random(seed)
            for _ in range(25):
                tenant = own.choice(tenants)
                some = own.sample(letters[tenant.app_id], 6)
                try:
                    async with shared.pool.acquire() as link, link.transaction():
                        await do(link, own, tenant.app_id, some)
                except asyncpg.DeadlockDetectedError:
                    continue

        await asyncio.gather(*(work(dice.random().__hash__()) for _ in range(8)))

        environment = desk.gateway.environment_id
        counted = {tuple(row) for row in await desk.link.fetch(COUNTED, environment)}
        kept = {tuple(row) for row in await desk.link.fetch(KEPT, environment)}
        assert {row for row in kept if row[2] or row[3]} == {
            row for row in counted if row[2] or row[3]
        }
        assert {row[:2] for row in counted} <= {row[:2] for row in kept}


async def do(link: Any, dice: random.Random, app_id: str, letters: list[str]) -> None:
    """Do one of the things that are done to letters, to some."""
    what = dice.choice(("redeliver", "discard", "arrive", "again", "otherwise", "drop"))
    if what == "redeliver":
        for letter in letters:
            await dead_letter.redeliver(link, app_id, letter, rows.now())
    elif what == "discard":
        for letter in letters:
            await dead_letter.discard(link, app_id, letter, rows.now())
    elif what == "arrive":
        await link.execute(
            """UPDATE dead_letter SET state = 'redelivered', updated_at = now()
               WHERE app_id = $1 AND id = ANY ($2) AND state = 'redelivering'""",
            app_id, letters,
        )  # fmt: skip
    elif what == "drop":
        await link.execute(
            "DELETE FROM dead_letter WHERE app_id = $1 AND id = $2", app_id, letters[0]
        )
    else:
        form = dice.choice(FORMS) if what == "otherwise" else None
        await link.execute(
            """UPDATE dead_letter SET state = 'parked', parked_at = clock_timestamp(),
                      updated_at = now(), fingerprint = coalesce($3, fingerprint)
               WHERE app_id = $1 AND id = ANY ($2) AND state <> 'parked'""",
            app_id, letters, form,
        )  # fmt: skip


class TestStates:
    async def test_a_group_is_resolved_when_no_letter_is_parked_or_on_its_way(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        one, two = [await tenant.parked() for _ in range(2)]
        await http.post(f"{LETTERS}/{one}/discard")
        await http.post(f"{LETTERS}/{two}/redeliver")
        assert (await the_group(http))["state"] == "open"

        await tenant.link.execute("UPDATE dead_letter SET state = 'redelivered' WHERE id = $1", two)

        group = await the_group(http)
        assert (group["state"], group["stateBy"]) == ("resolved", None)

    @pytest.mark.parametrize("by_hand", [False, True])
    async def test_the_next_letter_opens_a_resolved_group(
        self, http: httpx.AsyncClient, tenant: Tenant, *, by_hand: bool
    ) -> None:
        letter = await tenant.parked()
        if by_hand:
            assert (await move(http, await the_group(http), state="resolved")).status_code == 200
        else:
            await http.post(f"{LETTERS}/{letter}/discard")
        assert (await the_group(http))["state"] == "resolved"

        await tenant.parked()

        group = await the_group(http)
        assert (group["state"], group["stateBy"]) == ("open", None)

    async def test_an_acknowledged_group_stays_so_when_more_letters_come(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await tenant.parked()
        moved = (await move(http, await the_group(http), state="acknowledged")).json()

        await tenant.parked()

        group = await the_group(http)
        assert (group["state"], group["parked"]) == ("acknowledged", 2)
        assert group["stateBy"] == moved["stateBy"] is not None

    async def test_a_snoozed_group_is_silent_until_its_time(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        letter = await tenant.parked()
        until = later(HOUR)
        group = (
            await move(http, await the_group(http), state="snoozed", snoozedUntil=until)
        ).json()
        assert (group["state"], datetime.fromisoformat(group["snoozedUntil"])) == (
            "snoozed", datetime.fromisoformat(until),
        )  # fmt: skip

        await tenant.parked()
        assert (await the_group(http))["state"] == "snoozed"
        await tenant.link.execute(
            "UPDATE dead_letter SET state = 'discarded' WHERE app_id = $1", tenant.app_id
        )
        assert (await the_group(http))["state"] == "resolved"
        await park_again(tenant, letter)
        assert (await the_group(http))["state"] == "snoozed"

        await tenant.link.execute(
            "UPDATE dead_letter_group SET snoozed_until = now() WHERE app_id = $1", tenant.app_id
        )
        group = await the_group(http)
        assert (group["state"], group["snoozedUntil"]) == ("open", None)
        assert [g["id"] for g in await groups(http, state="open")] == [group["id"]]
        assert await groups(http, state="snoozed") == []
        await tenant.parked()
        stored = await tenant.link.fetchval(
            "SELECT state FROM dead_letter_group WHERE app_id = $1", tenant.app_id
        )
        assert stored == "open"

    async def test_a_group_may_be_opened_again_by_hand(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await tenant.parked()
        group = await the_group(http)
        for state in ("acknowledged", "open", "resolved", "open"):
            answer = await move(http, group, state=state)
            assert (answer.status_code, answer.json()["state"]) == (200, state)

    async def test_a_resolved_group_cannot_be_acknowledged(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await tenant.parked()
        group = await the_group(http)
        await move(http, group, state="resolved")

        answer = await move(http, group, state="acknowledged")

        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert (await the_group(http))["state"] == "resolved"

    async def test_moves_are_audited_once_each_with_the_reason(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await tenant.parked()
        group = await the_group(http)
        for _ in range(2):
            await move(http, group, state="acknowledged", reason="known")

        (entry,) = await tenant.audited("dead_letter_group.update")
        assert entry["object"] == group["id"]
        assert entry["detail"] == {
            "state": "acknowledged", "reason": "known", "app": tenant.app_id,
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("body", "where"),
        [
            ({}, "state"),
            ({"state": "lost"}, "state"),
            ({"state": "snoozed"}, "snoozedUntil"),
            ({"state": "snoozed", "snoozedUntil": "soon"}, "snoozedUntil"),
            ({"state": "snoozed", "snoozedUntil": "2020-01-01T00:00:00Z"}, "snoozedUntil"),
            ({"state": "snoozed", "snoozedUntil": "2999-01-01T00:00:00Z"}, "snoozedUntil"),
            ({"state": "open", "snoozedUntil": "2999-01-01T00:00:00Z"}, "snoozedUntil"),
            ({"state": "open", "reason": "x" * 501}, "reason"),
        ],
    )
    async def test_what_a_move_must_not_be_is_named(
        self, http: httpx.AsyncClient, tenant: Tenant, body: dict[str, str], where: str
    ) -> None:
        await tenant.parked()

        answer = await move(http, await the_group(http), **body)

        assert answer.status_code == 422
        assert [fault["loc"] for fault in answer.json()["detail"]] == [["body", where]]

    async def test_a_group_is_its_apps_own(
        self, desk: Desk, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await tenant.parked()
        group = await the_group(http)
        two = await desk.tenant("two")
        key = await make_key(
            desk.gateway.pool, tenant.environment_id, kind=KeyKind.APP, app_id=two.app_id
        )
        path = f"/api/v1/app/two/dead-letter-group/{group['id']}"

        answers = [
            await http.get(path),
            await http.patch(path, json={"state": "resolved"}),
            await desk.gateway.http(key).get(f"{ONE}/{group['id']}"),
            await http.get(f"{ONE}/dlg_1"),
            await http.get(f"{ONE}/dlg_{'0' * 32}"),
        ]

        assert {answer.status_code for answer in answers} == {404}
        assert (await the_group(http))["state"] == "open"


class TestListing:
    async def test_groups_are_filtered(self, http: httpx.AsyncClient, tenant: Tenant) -> None:
        for n, (fault, endpoint) in enumerate(
            [(None, tenant.endpoint_id), ("dns", tenant.endpoint_id), ("dns", tenant.other_id)]
        ):
            await tenant.parked(
                fault=fault, status=None if fault else 500, endpoint_id=endpoint,
                fingerprint=FORMS[n],
            )  # fmt: skip

        async def listed(**query: str) -> set[str]:
            return {group["fingerprint"] for group in await groups(http, **query)}

        assert await listed(endpoint_id="e1") == {*FORMS[:2]}
        assert await listed(endpoint_id=tenant.other_id) == {FORMS[2]}
        assert await listed(error_class="dns") == {*FORMS[1:]}
        assert await listed(error_class="dns,http_5xx", endpoint_id="e1") == {*FORMS[:2]}
        assert await listed(state="open,snoozed") == {*FORMS}
        assert await listed(state="resolved") == set()

    @pytest.mark.parametrize("order_by", ["lastSeen", "count"])
    @pytest.mark.parametrize("url", [ONE, ALL])
    async def test_pages_go_both_ways_by_time_and_by_count(
        self, http: httpx.AsyncClient, tenant: Tenant, order_by: str, url: str
    ) -> None:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        for n in range(5):
            for m in range(1 + n // 2):
                await tenant.parked(at + (n if order_by == "lastSeen" else -n) * HOUR + m * MINUTE,
                                    fingerprint=f"{n:016x}")  # fmt: skip
        params: dict[str, Any] = {"order_by": order_by, "limit": 2}

        pages = [(await http.get(url, params=params)).json()]
        while not pages[-1]["done"]:
            more = params | {"iterator": pages[-1]["iterator"]}
            pages.append((await http.get(url, params=more)).json())
        before = params | {"iterator": pages[1]["prevIterator"]}
        back = (await http.get(url, params=before)).json()
        upward = (await http.get(url, params=params | {"order": "ascending"})).json()

        listed = [group["id"] for page in pages for group in page["data"]]
        every = (await http.get(url, params={"order_by": order_by})).json()["data"]
        assert listed == [group["id"] for group in every]
        assert len(listed) == len(set(listed)) == 5
        key = "lastSeenAt" if order_by == "lastSeen" else "parked"
        values = [group[key] for group in every]
        assert values == sorted(values, reverse=True)
        assert [group["id"] for group in back["data"]] == listed[:2]
        assert [group["id"] for group in upward["data"]] == listed[:2:-1]

    async def test_across_apps_all_groups_of_the_environment_are_listed(
        self, desk: Desk, http: httpx.AsyncClient, shared: Gateway
    ) -> None:
        for uid in ("one", "two"):
            await (await desk.tenant(uid)).parked()
        async with another_desk(shared) as elsewhere:
            await (await elsewhere.tenant()).parked()

        listed = (await http.get(ALL)).json()["data"]
        of_two = (await http.get(ALL, params={"app_id": "two"})).json()["data"]

        assert len({group["appId"] for group in listed}) == len(listed) == 2
        assert [group["id"] for group in of_two] == [listed[0]["id"]]

    @pytest.mark.usefixtures("tenant")
    @pytest.mark.parametrize(
        ("query", "status"),
        [("state=lost", 400), ("order_by=x", 400), ("iterator=x", 422), ("iterator=-1.dlg_", 422)],
    )
    async def test_what_cannot_be_read_of_a_query_is_refused(
        self, http: httpx.AsyncClient, query: str, status: int
    ) -> None:
        assert (await http.get(f"{ONE}?{query}")).status_code == status


async def test_a_migrated_database_has_the_groups_of_the_letters_that_it_had(
    services: Services,
) -> None:
    before = MIGRATIONS[[path.name[:4] for path in MIGRATIONS].index("0006") - 1]
    name = f"t_{ids.new_id('x', rows.now()).lower()}"
    await services._administer(f"CREATE DATABASE {name} TEMPLATE template0")
    link = await asyncpg.connect(services.database_url(name))
    try:
        await migrate(link, shards=8, upto=before.name)
        await link.execute(
            """INSERT INTO dead_letter
                   (app_id, id, message_id, endpoint_id, state, reason, event_type, content_type,
                    url, status, fingerprint, attempts, message_at, parked_at, updated_at)
               SELECT 'app_1', 'dl_' || n, 'msg_' || n, 'ep_1',
                      CASE WHEN n < 3 THEN 'parked' ELSE 'redelivered' END, 'exhausted', 'a', 'x',
                      'u', 500, (ARRAY['f', 'f', 'f', 'g'])[n], 1, now(), now(), now()
               FROM generate_series(1, 4) AS n"""
        )

        await migrate(link, shards=8)

        found = await link.fetch(
            "SELECT fingerprint, parked, total, state, error_class FROM dead_letter_group"
        )
        assert {tuple(row) for row in found} == {
            ("f", 2, 3, "open", "http_5xx"), ("g", 0, 1, "resolved", "http_5xx"),
        }  # fmt: skip
    finally:
        await link.close()
        await services._administer(f"DROP DATABASE {name} WITH (FORCE)")
