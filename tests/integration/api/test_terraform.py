"""What Svix's Terraform provider asks of a server, and what it needs to hear.

Each table has the calls of a resource in the order in which Terraform makes them: create, read (an
import is a read), update, read, delete. The provider stands on Svix's SDK for Go, which decodes
answers into fixed types, and takes a 204 for no answer at all. Terraform holds the provider to its
plan: what an answer says must be what was sent, and null where nothing was, or the apply fails.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, TypeAlias

import httpx
import orjson
import pytest

from schema.api_key import KeyKind
from schema.scope import ALL_SCOPES
from tests.clients import plain_client
from tests.gateway_server import Gateway, make_key
from tests.toolchains import TESTS, go_program

pytestmark = pytest.mark.asyncio(loop_scope="module")

Known: TypeAlias = dict[str, Any]  # what earlier calls brought, by name
Check: TypeAlias = Callable[[Any], bool]


def text(value: Any) -> bool:
    return isinstance(value, str)


def truth(value: Any) -> bool:
    return isinstance(value, bool)


def time(value: Any) -> bool:
    return text(value) and datetime.fromisoformat(value).tzinfo is not None


def texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(text, value))


def text_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(text, value.values()))


def one_of(*values: str) -> Check:
    return lambda value: value in values


def maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


ENVIRONMENT: Final = {
    "id": text, "name": text, "type": one_of("development", "production"),
    "region": one_of("self-hosted"), "createdAt": time, "updatedAt": time,
}  # fmt: skip
TOKEN: Final = {"id": text, "token": text, "createdAt": time, "expiresAt": maybe(time)}
CENSORED: Final = {"id": text, "censoredToken": text, "createdAt": time, "expiresAt": maybe(time)}
EVENT_TYPE: Final = {
    "name": text, "description": text, "deprecated": truth, "archived": maybe(truth),
    "createdAt": time, "updatedAt": time,
}  # fmt: skip
ENDPOINT: Final = {
    "id": text, "url": text, "description": text, "disabled": maybe(truth),
    "metadata": text_by_name, "createdAt": time, "updatedAt": time,
}  # fmt: skip
IMPORTED: Final = {"data": lambda value: texts(value["modified"])}
SPEC: Final = """
openapi: 3.1.0
webhooks:
  invoice.paid:
    post:
      summary: An invoice was paid
      requestBody:
        content:
          application/json:
            schema: {type: object, properties: {id: {type: string}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call, and what its answer must be.

    Attributes:
        does: A method and a path; `{names}` stand for what is known.
        sends: The body, or what makes it of what is known.
        status: The answer's.
        fields: What is in it, as what.
        same: The fields that Terraform compares with what was sent last; null if it was not.
        keeps: Fields to be known from now on, by the name that they get.
        installation: Whether the key is sent alone; else it names the environment.
    """

    does: str
    sends: Any = None
    status: int = 200
    fields: Mapping[str, Check] = field(default_factory=dict)
    same: Sequence[str] = ()
    keeps: Mapping[str, str] = field(default_factory=dict)
    installation: bool = False


ENVIRONMENTS: Final = "/management/environment"
OF_ENVIRONMENT: Final = ("name", "type")
CREATE_ENVIRONMENT: Final = Call(
    does=f"POST {ENVIRONMENTS}",
    sends={"name": "Staging", "type": "development"},
    status=201,
    fields=ENVIRONMENT,
    same=OF_ENVIRONMENT,
    keeps={"environment": "id"},
    installation=True,
)
READ_ENVIRONMENT: Final = Call(
    does=f"GET {ENVIRONMENTS}/{{environment}}",
    fields=ENVIRONMENT,
    same=("name",),
    installation=True,
)
DELETE_ENVIRONMENT: Final = [
    Call(does=f"DELETE {ENVIRONMENTS}/{{environment}}", status=204, installation=True),
    Call(does=f"GET {ENVIRONMENTS}/{{environment}}", status=404, installation=True),
]
SVIX_ENVIRONMENT: Final = [
    READ_ENVIRONMENT,
    Call(
        does=f"PUT {ENVIRONMENTS}/{{environment}}",
        sends={"name": "Stage"},
        fields=ENVIRONMENT,
        same=("name",),
        installation=True,
    ),
    READ_ENVIRONMENT,
]

TOKENS: Final = "/management/authentication/{environment}/api-token"
OF_TOKEN: Final = ("name", "scopes")
SVIX_API_TOKEN: Final = [
    Call(
        does=f"POST {TOKENS}",
        sends={"name": "CI", "scopes": ["event-type:Read", "application:Read"]},
        fields=TOKEN,
        same=OF_TOKEN,
        keeps={"key": "id", "token": "token"},
    ),
    Call(
        does=f"PATCH {TOKENS}/{{key}}",
        sends={"name": "Deploys", "scopes": None},
        fields=CENSORED,
        same=OF_TOKEN,
    ),
    Call(does=f"POST {TOKENS}/{{key}}/expire", sends={"expiry": 0}, status=204),
]

TYPE: Final = "/event-type/user.created"
OF_TYPE: Final = (
    "name", "description", "archived", "deprecated", "groupName", "featureFlags", "schemas"
)  # fmt: skip
WHOLE_TYPE: Final = {
    "name": "user.created",
    "description": "A user was created",
    "archived": False,
    "deprecated": False,
    "groupName": "user",
    "featureFlags": ["beta"],
    "schemas": {"1": {"type": "object", "properties": {"id": {"type": "string"}}}},
}
BARE_TYPE: Final = {"description": "A user", "archived": False, "deprecated": True}
SVIX_EVENT_TYPE: Final = [
    Call(
        does="POST /event-type",
        sends=WHOLE_TYPE,
        status=201,
        fields=EVENT_TYPE,
        same=OF_TYPE,
    ),
    Call(does=f"GET {TYPE}", fields=EVENT_TYPE, same=OF_TYPE),
    Call(does=f"PUT {TYPE}", sends=BARE_TYPE, fields=EVENT_TYPE, same=OF_TYPE[1:]),
    Call(does=f"GET {TYPE}", fields=EVENT_TYPE, same=OF_TYPE[1:]),
    Call(does=f"DELETE {TYPE}?expunge=true", status=204),
    Call(does=f"GET {TYPE}", status=404),
    Call(does="POST /event-type", sends=WHOLE_TYPE, status=201, fields=EVENT_TYPE, same=OF_TYPE),
]

IMPORT: Final = Call(
    does="POST /event-type/import/openapi",
    sends={"specRaw": SPEC, "replaceAll": False},
    fields=IMPORTED,
)
SVIX_EVENT_TYPE_OPENAPI_IMPORT: Final = [
    IMPORT,
    Call(does="GET /event-type/invoice.paid", fields=EVENT_TYPE),
    IMPORT,
    Call(does="DELETE /event-type/invoice.paid", status=204),
]

ENDPOINTS: Final = "/operational-webhook/endpoint"
OF_ENDPOINT: Final = (
    "url", "description", "disabled", "filterTypes", "metadata", "rateLimit", "uid"
)  # fmt: skip
READ_ENDPOINT: Final = [
    Call(does=f"GET {ENDPOINTS}/{{endpoint}}", fields=ENDPOINT, same=OF_ENDPOINT),
    Call(does=f"GET {ENDPOINTS}/{{endpoint}}/secret", fields={"key": text}),
]
SVIX_OPERATIONAL_WEBHOOKS_ENDPOINT: Final = [
    Call(
        does=f"POST {ENDPOINTS}",
        sends={
            "url": "https://ops.example.com/svix",
            "description": "",
            "disabled": False,
            "filterTypes": ["message.attempt.exhausted", "endpoint.disabled"],
            "metadata": {"team": "core"},
            "rateLimit": 10,
            "uid": "ops",
        },
        status=201,
        fields=ENDPOINT,
        same=OF_ENDPOINT,
        keeps={"endpoint": "id"},
    ),
    *READ_ENDPOINT,
    Call(
        does=f"PUT {ENDPOINTS}/{{endpoint}}",
        sends={
            "url": "https://ops.example.com/hookline",
            "description": "All that ends",
            "disabled": True,
            "filterTypes": ["message.attempt.exhausted"],
            "metadata": {},
        },
        fields=ENDPOINT,
        same=OF_ENDPOINT,
    ),
    *READ_ENDPOINT,
    Call(does=f"DELETE {ENDPOINTS}/{{endpoint}}", status=204),
]

SETTINGS: Final = "/management/environment-settings"
PLANNED: Final = {
    "disableEndpointOnFailure": False,
    "enableChannels": True,
    "enableTransformations": False,
    "enforceHttps": True,
    "readOnly": False,
    "requireEndpointChannel": False,
    "whitelabelHeaders": True,
    "wipeSuccessfulPayload": False,
    "displayName": "Acme",
    "customBaseFontSize": 16,
    "customFontFamily": "Roboto",
    "customThemeOverride": {"borderRadius": {"button": "md", "card": "none", "input": "full"}},
    "customStringsOverride": {"channelsOne": "Team", "channelsMany": "Teams"},
    "colorPaletteLight": {"primary": "#28bb93", "textDanger": "#e11d48"},
}


def planned(known: Known) -> dict[str, Any]:
    """Give what is set already, but for null, with what is planned."""
    present = {name: value for name, value in known["answer"].items() if value is not None}
    return present | PLANNED


COLLECTOR: Final = f"{SETTINGS}/customer-otel"
OF_COLLECTOR: Final = ("url", "additionalHeaders")
READ_COLLECTOR: Final = Call(
    does=f"GET {COLLECTOR}", fields={"svixManaged": truth}, same=OF_COLLECTOR
)
SVIX_ENVIRONMENT_SETTINGS: Final = [
    Call(does=f"GET {SETTINGS}"),
    Call(does=f"PUT {SETTINGS}", sends=planned, same=tuple(PLANNED)),
    Call(does=f"GET {SETTINGS}", same=tuple(PLANNED)),
    Call(does=f"PUT {SETTINGS}", sends=planned, same=tuple(PLANNED)),
    Call(
        does=f"PUT {COLLECTOR}",
        sends={"url": "https://otel.example.com", "additionalHeaders": {"Api-Key": "k"}},
        status=204,
    ),
    READ_COLLECTOR,
    Call(does=f"PUT {COLLECTOR}", sends={"url": "https://otel.example.com:4318"}, status=204),
    READ_COLLECTOR,
    Call(does=f"DELETE {COLLECTOR}", status=204),
    Call(does=f"GET {COLLECTOR}", fields={"url": lambda value: value is None}),
]
RESOURCES: Final = {
    "svix_environment": SVIX_ENVIRONMENT,
    "svix_api_token": SVIX_API_TOKEN,
    "svix_environment_settings": SVIX_ENVIRONMENT_SETTINGS,
    "svix_event_type": SVIX_EVENT_TYPE,
    "svix_event_type_openapi_import": SVIX_EVENT_TYPE_OPENAPI_IMPORT,
    "svix_operational_webhooks_endpoint": SVIX_OPERATIONAL_WEBHOOKS_ENDPOINT,
}


async def replay(gateway: Gateway, calls: Sequence[Call]) -> Known:
    """Make calls as the provider does, and look at the answers; give what is known then."""
    known: Known = {"sent": {}, "answer": {}}
    async with plain_client(base_url=gateway.url) as http:
        for number, call in enumerate(calls):
            said = await _make(http, call, gateway.key, known, number)
            assert said.status_code == call.status, (call.does, said.text)
            known["answer"] = said.json() if said.content else {}
            _look(call, known)
            known |= {name: known["answer"][key] for name, key in call.keeps.items()}
    return known


async def _make(
    http: httpx.AsyncClient, call: Call, key: str, known: Known, number: int
) -> httpx.Response:
    method, path = call.does.format_map(known).split(" ")
    bearer = key if call.installation else f"{key}|{known['environment']}"
    headers = {"authorization": f"Bearer {bearer}", "svix-req-id": str(number)}
    if method == "POST":
        headers["idempotency-key"] = token_hex(16)
    if call.sends is None:
        return await http.request(method, f"/api/v1{path}", headers=headers)
    known["sent"] = call.sends(known) if callable(call.sends) else call.sends
    headers["content-type"] = "application/json"
    body = orjson.dumps(known["sent"])
    return await http.request(method, f"/api/v1{path}", headers=headers, content=body)


def _look(call: Call, known: Known) -> None:
    answer = known["answer"]
    wrong = [name for name, right in call.fields.items() if not right(answer.get(name))]
    assert not wrong, (call.does, {name: answer.get(name) for name in wrong})
    for name in call.same:
        assert answer.get(name) == known["sent"].get(name), (call.does, name)


@pytest.mark.parametrize("kind", [KeyKind.OPERATOR, KeyKind.GROUP_ADMIN])
@pytest.mark.parametrize("resource", RESOURCES)
async def test_terraform_gets_what_it_asked_for_and_finds_it_again(
    shared: Gateway, resource: str, kind: KeyKind
) -> None:
    key = await make_key(shared.pool, shared.environment_id, kind=kind, scopes=(ALL_SCOPES,))
    await replay(
        replace(shared, key=key), [CREATE_ENVIRONMENT, *RESOURCES[resource], *DELETE_ENVIRONMENT]
    )


@pytest.mark.timeout(300)  # the first run installs
async def test_the_sdk_for_go_that_the_provider_stands_on_decodes_what_it_gets(
    shared: Gateway, tmp_path: Path
) -> None:
    tour = await asyncio.to_thread(go_program, TESTS / "sdk" / "terraform", tmp_path / "tour")

    process = await asyncio.create_subprocess_exec(
        tour,
        env={**os.environ, "URL": shared.url, "KEY": shared.key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        said, complaint = await process.communicate()

    assert (process.returncode, said) == (0, b"done\n"), complaint.decode()[-3_000:]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_we_do_not_have_says_what_to_use_instead(gateway: Gateway, method: str) -> None:
    said = await gateway.http().request(method, "/ingest/api/v1/source")

    assert (said.status_code, said.json()["code"]) == (501, "not_implemented")


async def test_a_token_that_terraform_made_counts_until_it_ends_it(shared: Gateway) -> None:
    made = await replay(shared, [CREATE_ENVIRONMENT, *SVIX_API_TOKEN[:1]])
    async with plain_client(base_url=shared.url) as http:
        bearer = {"authorization": f"Bearer {made['token']}"}
        counts = await http.get("/api/v1/event-type", headers=bearer)
        ended = await _make(http, SVIX_API_TOKEN[-1], shared.key, made, 9)
        no_more = await http.get("/api/v1/event-type", headers=bearer)

    assert [said.status_code for said in (counts, ended, no_more)] == [200, 204, 401]
