"""What every request passes, without the operations behind it."""

import json
from typing import Any, cast

import pytest
from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer
from gateway.middleware import Doorway
from gateway.parts import Parts
from gateway.routing import OpenOperation, build
from schema.errors import Conflict


async def well(request: Request) -> Response:
    return answer(dict(request.path_params))


async def taken(_request: Request) -> Response:
    raise Conflict


async def broken(_request: Request) -> Response:
    raise ValueError("a secret")


OPERATIONS = [
    OpenOperation(method="GET", path="/things/{thing_id}", handler=well),
    OpenOperation(method="POST", path="/things/{thing_id}", handler=taken),
    OpenOperation(method="DELETE", path="/things/{thing_id}", handler=broken),
]


class Said:
    """What was answered."""

    def __init__(self, sent: list[dict[str, Any]]) -> None:
        start, body = sent
        self.status = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        self.body = json.loads(body["body"] or b"null")


async def ask(method: str, path: str, headers: dict[str, str] | None = None) -> Said:
    doorway = Doorway(build(OPERATIONS), cast("Parts", None))
    sent: list[dict[str, Any]] = []
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await doorway(scope, receive, send)
    return Said(sent)


@pytest.mark.parametrize("path", ["/things/t-1", "/things/t-1/", "/things/t-1//"])
async def test_a_path_is_found_with_and_without_slashes_at_its_end(path: str) -> None:
    said = await ask("GET", path)

    assert (said.status, said.body) == (200, {"thing_id": "t-1"})
    assert said.headers["content-type"] == "application/json"


async def test_what_a_handler_did_not_expect_is_answered_500_and_not_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = await ask("DELETE", "/things/t", {"x-request-id": "mine"})

    assert (said.status, said.body["code"]) == (500, "server_error")
    assert "secret" not in str(said.body)
    assert said.headers["x-request-id"] == "mine"
    assert "request mine: DELETE /things/t" in caplog.text


async def test_errors_of_ours_unknown_paths_and_methods_have_their_answers() -> None:
    conflict = await ask("POST", "/things/t")
    nothing = await ask("GET", "/other")
    method = await ask("PUT", "/things/t")

    assert (conflict.status, conflict.body["code"]) == (409, "conflict")
    assert (nothing.status, nothing.body["code"]) == (404, "not_found")
    assert (method.status, method.body["code"]) == (405, "method_not_allowed")
    assert method.headers["allow"] == "DELETE, GET, POST"


@pytest.mark.parametrize(
    ("method", "path", "instead"),
    [
        ("POST", "/api/v1/stream", "make endpoints"),
        ("GET", "/ingest/api/v1/source/src_1/endpoint", "publish it"),
        ("DELETE", "/api/v1/app/a/destination/d/", "/api/v1/app/{app_id}/endpoint"),
        ("PATCH", "/api/v1/connector", "code of its own"),
        ("POST", "/api/v1/app/a/endpoint/e/connector", "code of its own"),
    ],
)
async def test_what_svix_has_and_we_have_not_is_answered_501_with_what_to_use_instead(
    method: str, path: str, instead: str
) -> None:
    said = await ask(method, path)

    assert (said.status, said.body["code"]) == (501, "not_implemented")
    assert instead in said.body["detail"]


async def test_each_request_has_a_name_of_its_own_unless_it_brings_a_plain_one() -> None:
    one, other = await ask("GET", "/things/t"), await ask("GET", "/x", {"x-request-id": "a b"})

    assert one.headers["x-request-id"] != other.headers["x-request-id"]
    assert len(one.headers["x-request-id"]) == len(other.headers["x-request-id"]) == 16


async def test_a_browser_is_told_that_it_may_read_the_answer_and_others_are_not() -> None:
    browser = await ask("GET", "/things/t", {"origin": "https://x.example.com"})
    other = await ask("GET", "/things/t")

    assert browser.headers["access-control-allow-origin"] == "*"
    assert "ratelimit" in browser.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in other.headers
