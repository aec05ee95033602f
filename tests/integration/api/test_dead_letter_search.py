"""Dead letters are selected by any of their properties: listed, counted and exported alike."""

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from schema import ids
from schema.api_key import KeyKind
from schema.dead_letter import ErrorClass, LetterState, class_of
from schema.delivery import Fault, Reason
from schema.store import dead_letter_search as search
from tests import rows
from tests.gateway_server import Gateway, make_key
from tests.tenants import Desk, Tenant, another_desk

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECOND = timedelta(seconds=1)
AT = rows.now() - timedelta(hours=1)
ONE, ALL = "/api/v1/app/one/dead-letter", "/api/v1/dead-letter"
Row = dict[str, Any]
# A query, and which letters it means: those of which the row passes.
QUERIES: list[tuple[dict[str, str], Callable[[Row], bool]]] = [
    ({}, lambda _: True),
    ({"endpoint_id": "e1"}, lambda r: r["endpoint"] == "e1"),
    ({"endpoint_id": "e1,e2"}, lambda _: True),
    ({"event_types": "a.a,c.c"}, lambda r: r["event_type"] != "b.b"),
    ({"reason": "gone,aborted"}, lambda r: r["reason"] in {"gone", "aborted"}),
    ({"error_class": "http_4xx"}, lambda r: r["status"] == 404 and r["reason"] == "exhausted"),
    (
        {"error_class": "timeout,gone"},
        lambda r: r["reason"] == "gone" or (r["fault"] and r["reason"] == "exhausted"),
    ),
    ({"fault": "timeout"}, lambda r: r["fault"] == "timeout"),
    ({"status_code": "503"}, lambda r: r["status"] == 503),
    ({"status_code_class": "500"}, lambda r: r["status"] in {500, 503}),
    ({"status_code_class": "0"}, lambda r: r["status"] is None),
    ({"state": "discarded"}, lambda r: r["state"] == "discarded"),
    ({"state": "parked,discarded"}, lambda r: r["state"] in {"parked", "discarded"}),
    ({"state": "all"}, lambda _: True),
    ({"before": (AT + 20 * SECOND).isoformat()}, lambda r: r["n"] < 20),
    ({"after": (AT + 40 * SECOND).isoformat()}, lambda r: r["n"] >= 40),
    ({"attempts_min": "4"}, lambda r: r["attempts"] >= 4),
    ({"attempts_min": "2", "attempts_max": "3"}, lambda r: 2 <= r["attempts"] <= 3),
    ({"text": "NUMBER 1"}, lambda r: r["response"] is not None and "number 1" in r["response"]),
    ({"text": "no answer"}, lambda r: r["fault"] == "timeout"),
    ({"payload_path": "$.order.amount > 30"}, lambda r: r["n"] > 30),
    ({"payload_path": '$.order.tags[*] ? (@ == "odd")'}, lambda r: r["n"] % 2 == 1),
    ({"payload_path": "$.nothing"}, lambda _: False),
    (
        {"endpoint_id": "e2", "attempts_max": "2", "text": "number", "payload_path": "$.order"},
        lambda r: r["endpoint"] == "e2" and r["attempts"] <= 2 and r["response"] is not None,
    ),
]  # fmt: skip


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def faults(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422
    return [".".join(fault["loc"]) for fault in answer.json()["detail"]]


async def some(tenant: Tenant, number: int = 60) -> list[Row]:
    """Store letters that differ in everything; give what they are like, newest first."""
    made = []
    for n in range(number):
        fault = "timeout" if n % 7 == 0 else None
        reason = ("exhausted", "exhausted", "gone", "aborted")[n % 4]
        status = None if fault else (500, 503, 404)[n % 3]
        row: Row = {
            "reason": reason,
            "state": "discarded" if n % 5 == 0 else "parked",
            "event_type": ("a.a", "b.b", "c.c")[n % 3],
            "status": status,
            "fault": fault,
            "detail": "No Answer in time" if fault else "",
            "response": None if fault else f"number {n % 13}",
            "attempts": 1 + n % 5,
        }
        endpoint = ("e1", "e2")[n % 2]
        said = row["response"]
        tags = ["odd"] if n % 2 else ["even"]
        ident = await tenant.parked(
            AT + n * SECOND,
            endpoint_id=tenant.endpoint_id if n % 2 == 0 else tenant.other_id,
            payload=json.dumps({"order": {"amount": n, "tags": tags}}).encode(),
            **row | {"response": None if said is None else said.encode()},
        )
        made.append(row | {"id": ident, "endpoint": endpoint, "n": n})
    return made[::-1]


def meant(made: list[Row], query: dict[str, str], wanted: Callable[[Row], bool]) -> list[str]:
    return [
        row["id"] for row in made if wanted(row) and ("state" in query or row["state"] == "parked")
    ]


async def walk(http: httpx.AsyncClient, url: str, query: dict[str, str]) -> list[str]:
    """Give what all pages list, one behind the other."""
    found, iterator = list[str](), None
    while True:
        more = {} if iterator is None else {"iterator": iterator}
        page = (await http.get(url, params={**query, **more})).json()
        found += [line["id"] for line in page["data"]]
        iterator = page["iterator"]
        if page["done"]:
            return found


class TestSelecting:
    async def test_lists_counts_and_exports_select_what_a_query_means(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        made = await some(tenant)

        for query, wanted in QUERIES:
            expected = meant(made, query, wanted)
            by_id = query | {
                "endpoint_id": query["endpoint_id"]
                .replace("e1", tenant.endpoint_id)
                .replace("e2", tenant.other_id)
            } if "endpoint_id" in query else query  # fmt: skip
            for url, asked in ((ONE, query), (ALL, by_id)):
                # With `after` alone the oldest are the first page.
                paged = {**asked, "limit": "7"} if "after" not in asked else asked
                listed = await walk(http, url, paged)
                counted = (await http.get(f"{url}/count", params=asked)).json()
                exported = (await http.get(f"{url}/export", params=asked)).text.splitlines()

                assert (query, listed) == (query, expected)
                assert counted == {"count": len(expected), "atLeast": False}
                lines = [json.loads(line) for line in exported]
                assert [line["id"] for line in lines[:-1]] == expected[::-1]
                assert lines[-1] == {"complete": True, "count": len(expected)}

    async def test_a_group_is_a_selection_too(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        one = await tenant.parked(fingerprint="a" * 16)
        await tenant.parked(fingerprint="b" * 16)
        group = (await http.get(f"{ONE}/{one}")).json()["groupId"]

        for url in (ONE, ALL):
            assert await walk(http, url, {"group": group}) == [one]

    async def test_pages_go_back_as_they_came_whatever_is_looked_into(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        made = await some(tenant, 20)
        for query in ({"state": "all"}, {"state": "all", "text": "n", "payload_path": "$.order"}):
            expected = [row["id"] for row in made]
            params = {**query, "limit": "6"}
            first = (await http.get(ONE, params=params)).json()
            second = (await http.get(ONE, params=params | {"iterator": first["iterator"]})).json()
            before = params | {"iterator": second["prevIterator"]}
            back = (await http.get(ONE, params=before)).json()

            pages = [[line["id"] for line in page["data"]] for page in (first, second, back)]
            assert pages == [expected[:6], expected[6:12], expected[:6]]
            assert [page["done"] for page in (first, second, back)] == [False, False, True]

    async def test_across_apps_a_query_may_name_some_and_sees_no_other_environments(
        self, desk: Desk, http: httpx.AsyncClient, shared: Gateway
    ) -> None:
        one, two, three = [await desk.tenant(uid) for uid in ("one", "two", "three")]
        letters = [await one.parked(AT + n * SECOND) for n in range(2)]
        letters += [await two.parked(AT + 2 * SECOND), await three.parked(AT + 3 * SECOND)]
        async with another_desk(shared) as elsewhere:
            await (await elsewhere.tenant()).parked()

        assert await walk(http, ALL, {}) == letters[::-1]
        assert await walk(http, ALL, {"app_id": f"two,{three.app_id}"}) == letters[:1:-1]
        refused(await http.get(ALL, params={"app_id": "nobody"}), 404, "not_found")

    async def test_across_apps_is_for_operators(self, desk: Desk, tenant: Tenant) -> None:
        key = await make_key(
            desk.gateway.pool, tenant.environment_id, kind=KeyKind.APP, app_id=tenant.app_id
        )
        client = desk.gateway.http(key)

        for path in (ALL, f"{ALL}/count", f"{ALL}/export", "/api/v1/dead-letter-group"):
            refused(await client.get(path), 403, "insufficient access")
        assert (await client.get(f"{ONE}/count")).json() == {"count": 0, "atLeast": False}

    async def test_what_must_be_looked_into_is_looked_into_a_part_at_a_time(
        self, http: httpx.AsyncClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search, "SCAN", 8)
        monkeypatch.setattr(search, "_FIRST_LOOK", 3)
        made = await some(tenant, 40)
        query = {"state": "all", "payload_path": "$.order.amount == 5"}
        wanted = next(row["id"] for row in made if row["n"] == 5)

        first = (await http.get(ONE, params=query)).json()
        listed = await walk(http, ONE, query)
        oldest = await walk(http, ONE, query | {"order": "ascending"})
        lines = (await http.get(f"{ONE}/export", params=query)).text.splitlines()

        assert (first["data"], first["done"]) == ([], False)
        assert first["iterator"] == made[7]["id"]
        assert listed == oldest == [wanted]
        assert [json.loads(line).get("id") for line in lines] == [wanted, None]
        assert (await http.get(f"{ONE}/count", params=query)).json()["count"] == 1

    async def test_a_count_beyond_the_limit_says_that_there_are_at_least_so_many(
        self, http: httpx.AsyncClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.routes.dead_letter.MOST_COUNTED", 3)
        for n in range(4):
            answer = (await http.get(f"{ONE}/count")).json()
            deep = (await http.get(f"{ONE}/count", params={"text": "oh no"})).json()
            assert answer == deep == {"count": n, "atLeast": False}
            await tenant.parked()

        expected = {"count": 3, "atLeast": True}
        assert (await http.get(f"{ONE}/count")).json() == expected
        assert (await http.get(f"{ONE}/count", params={"text": "oh no"})).json() == expected

    async def test_letters_that_hold_no_json_or_no_text_are_passed_over(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        for payload in (b"\xff\xfe", b"{", b'{"a": "\\u0000"}', b"[" * 9_000, None):
            await tenant.parked(payload=payload, response=b"\x00\xff")
        good = await tenant.parked(payload=b'{"a": 1}', response=b"\xffneedle")

        assert await walk(http, ONE, {"payload_path": "$.a"}) == [good]
        assert await walk(http, ONE, {"text": "needle"}) == [good]

    @pytest.mark.usefixtures("tenant")
    @pytest.mark.parametrize(
        ("query", "where"),
        [
            ({"payload_path": "$.a ?"}, "query.payload_path"),
            ({"payload_path": "$." + "a" * 1_000}, "query.payload_path"),
            ({"text": "x" * 201}, "query.text"),
            ({"attempts_min": "-1"}, "query.attempts_min"),
            ({"status_code": "99"}, "query.status_code"),
            ({"status_code": "500", "status_code_class": "500"}, "query.status_code"),
            ({"group": "dlg_1"}, "query.group"),
            ({"event_types": ",".join(f"t{n}" for n in range(101))}, "query.event_types"),
        ],
    )
    async def test_what_a_query_must_not_be_is_named(
        self, http: httpx.AsyncClient, query: dict[str, str], where: str
    ) -> None:
        for path in (ONE, f"{ONE}/count", f"{ONE}/export", ALL):
            assert faults(await http.get(path, params=query)) == [where]

    async def test_a_bad_path_is_told_with_the_place(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        answer = await http.get(ONE, params={"payload_path": "$.a[* == 1"})

        assert "syntax error at or near" in answer.json()["detail"][0]["msg"]
        assert tenant.app_id not in answer.text

    async def test_across_apps_endpoints_go_by_ids(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        assert faults(await http.get(ALL, params={"endpoint_id": "e1"})) == ["query.endpoint_id"]
        refused(await http.get(ONE, params={"endpoint_id": "e9"}), 404, "not_found")
        assert tenant.uid == "one"

    async def test_what_takes_too_long_is_ended_and_told_so(
        self, http: httpx.AsyncClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search, "TIMEOUT_S", 0.05)
        await tenant.parked()
        async with tenant.link.transaction():
            await tenant.link.execute("LOCK TABLE dead_letter IN ACCESS EXCLUSIVE MODE")

            for path in (ONE, f"{ONE}/count", f"{ONE}/export"):
                answer = await http.get(path)
                assert faults(answer) == ["query"]
                assert "too long" in answer.json()["detail"][0]["msg"]

    async def test_few_look_into_letters_at_a_time_and_others_are_served(
        self, http: httpx.AsyncClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search, "TIMEOUT_S", 1.0)
        monkeypatch.setattr("gateway.letters.WAIT_S", 0.2)
        async with tenant.link.transaction():
            await tenant.link.execute("LOCK TABLE dead_letter IN ACCESS EXCLUSIVE MODE")

            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(http.get(f"{ONE}/count", params={"text": "x"}))
                    for _ in range(12)
                ]
                other = await http.get("/api/v1/app/one/endpoint")

        assert other.status_code == 200
        statuses = sorted(task.result().status_code for task in asked)
        assert statuses == [422] * 2 + [503] * 10


class TestErrorClass:
    async def test_the_database_says_the_same_as_the_code(self, tenant: Tenant) -> None:
        outcomes: list[tuple[int | None, Fault | None]] = [(s, None) for s in (101, 304, 404, 599)]
        outcomes += [(None, fault) for fault in Fault]
        for reason in Reason:
            for status, fault in outcomes:
                ident = await tenant.parked(reason=reason, status=status, fault=fault)
                stored = await tenant.link.fetchval(
                    "SELECT error_class FROM dead_letter WHERE id = $1", ident
                )
                assert ErrorClass(stored) is class_of(reason, status, fault)


class TestExporting:
    async def test_payloads_are_exported_byte_by_byte(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        payloads = [b'{ "a":1.50 }', b'"text"', b"[1,\n2]", b"\xff\x00", b"{", None]
        made = [
            await tenant.parked(AT + n * SECOND, payload=payload)
            for n, payload in enumerate(payloads)
        ]

        answer = await http.get(f"{ONE}/export")

        lines = answer.content.splitlines()
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert len(lines) == len(made) + 1
        assert b'"payload":{ "a":1.50 }' in lines[0]
        assert b'"payload":"text"' in lines[1]
        for line, payload in zip(lines[2:5], payloads[2:5], strict=True):
            shown = orjson.loads(line)
            assert "payload" not in shown
            assert base64.b64decode(shown["payloadBase64"]) == payload
        assert orjson.loads(lines[5])["payload"] is None
        assert orjson.loads(lines[0])["response"] == "oh no"
        assert orjson.loads(lines[0])["responseHeaders"] == [["content-type", "text/plain"]]

    async def test_many_large_letters_are_exported_in_portions(
        self, http: httpx.AsyncClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.routes.dead_letter_export._AT_ONCE", 10)
        monkeypatch.setattr("gateway.routes.dead_letter_export._AT_ONCE_BYTES", 200_000)
        made = [
            await tenant.parked(AT + n * SECOND, payload=b'"%b"' % (b"x" * 60_000))
            for n in range(25)
        ]
        sizes, lines = [], list[str]()

        async with http.stream("GET", f"{ONE}/export") as answer:
            async for chunk in answer.aiter_bytes():
                sizes.append(len(chunk))
                lines.append(chunk.decode())

        found = [orjson.loads(line).get("id") for line in "".join(lines).splitlines()]
        assert found == [*made, None]
        assert max(sizes) < 300_000

    async def test_an_export_is_audited_with_what_was_asked_for(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await http.get(f"{ONE}/export", params={"text": "oh"})
        await http.get(f"{ALL}/export", params={"state": "all"})

        of_app, of_all = await tenant.audited("dead_letter.export")
        assert (of_app["object"], of_all["object"]) == (tenant.app_id, tenant.environment_id)
        assert dict(of_app["detail"])["filter"]["text"] == "oh"  # type: ignore[call-overload]
        states = dict(of_all["detail"])["filter"]["states"]  # type: ignore[call-overload]
        assert set(states) == set(LetterState)

    async def test_letters_that_are_parked_while_it_runs_are_not_in_it(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await tenant.parked(rows.now() + timedelta(minutes=1))
        old = await tenant.parked()

        lines = (await http.get(f"{ONE}/export")).text.splitlines()

        assert [json.loads(line).get("id") for line in lines] == [old, None]


async def test_the_ids_of_letters_bound_the_time() -> None:
    wanted = search.Filter(environment_id="org_1", before=AT, after=AT - SECOND)

    low, high = wanted.bounds

    assert low == ids.first_id(ids.DEAD_LETTER, AT - SECOND)
    assert low < ids.new_id(ids.DEAD_LETTER, AT - SECOND) < high
    assert high < ids.new_id(ids.DEAD_LETTER, AT)
