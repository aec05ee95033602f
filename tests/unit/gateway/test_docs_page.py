"""The page of the API's description: what it loads is here, and its policy allows nothing else."""

import re

import pytest
from starlette.requests import Request
from starlette.responses import Response

from gateway.routes import docs_page
from gateway.routing import build

TABLE = build(docs_page.routes())


async def ask(path: str) -> Response:
    found = TABLE.find("GET", path)
    assert found is not None
    handler, parameters = found
    return await handler(Request({"type": "http", "path_params": parameters}))


async def test_the_page_loads_nothing_that_is_not_served_beside_it() -> None:
    page = bytes((await ask(docs_page.PATH)).body).decode()

    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)

    assert len(loaded) == 4
    for path in loaded:
        assert path.startswith("/docs/")
        assert (await ask(path)).status_code == 200


async def test_the_page_has_no_script_or_style_of_its_own() -> None:
    page = bytes((await ask(docs_page.PATH)).body).decode()

    assert not re.search(r"<style|style=|<script(?! src=)| on\w+=", page)


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/docs/swagger-ui.css"])
async def test_all_of_it_is_under_a_policy_that_allows_this_origin_alone(path: str) -> None:
    policy = (await ask(path)).headers["content-security-policy"]

    sources = {source for part in policy.split("; ") for source in part.split(" ")[1:]}
    assert policy.startswith("default-src 'none'")
    assert sources == {"'none'", "'self'", "data:"}


@pytest.mark.parametrize("file", ["index.html", "..", "swagger-ui.css.map"])
async def test_no_other_file_is_given(file: str) -> None:
    assert (await ask(f"/docs/{file}")).status_code == 404
