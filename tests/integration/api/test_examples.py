"""What `/docs` fills in for a newcomer is taken, in the order in which they would try it."""

from dataclasses import replace
from typing import Final

import httpx
import pytest

from gateway.config import GatewayConfig
from gateway.openapi.contents import RESOURCES
from gateway.openapi.document import example_of, said_of
from tests.gateway_server import CONFIG

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL: Final = "/api/v1/app/{app_id}/endpoint/{endpoint_id}"
STEPS: Final = (
    "POST /api/v1/event-type/import/openapi",
    "POST /api/v1/event-type",
    "PUT /api/v1/event-type/{event_type_name}",
    "PATCH /api/v1/event-type/{event_type_name}",
    "PUT /api/v1/event-type/{event_type_name}/retry-schedule",
    "POST /api/v1/app",
    "PUT /api/v1/app/{app_id}",
    "PATCH /api/v1/app/{app_id}",
    "PATCH /api/v1/app/{app_id}/alert-email",
    "POST /api/v1/app/{app_id}/endpoint",
    f"PUT {ALL}",
    f"PATCH {ALL}",
    f"PUT {ALL}/headers",
    f"PATCH {ALL}/headers",
    f"PUT {ALL}/oauth",
    f"POST {ALL}/secret/rotate",
    f"PATCH {ALL}/transformation",
    f"POST {ALL}/transformation/simulate",
    f"POST {ALL}/send-example",
    f"POST {ALL}/cancel-msgs",
    f"POST {ALL}/recover",
    f"POST {ALL}/replay-missing",
    f"POST {ALL}/bulk-replay",
    "POST /api/v1/app/{app_id}/msg",
    "POST /api/v1/app/{app_id}/msg/bulk",
    "POST /api/v1/app/{app_id}/msg/precheck/active",
    "POST /api/v1/app/{app_id}/msg/search",
    "POST /api/v1/msg/broadcast",
    "POST /api/v1/app/{app_id}/poller",
    "POST /api/v1/app/{app_id}/integration",
    "POST /api/v1/app/{app_id}/dead-letter/redeliver",
    "POST /api/v1/app/{app_id}/dead-letter/discard",
    "POST /api/v1/app/{app_id}/dead-letter/purge",
    "POST /api/v1/alert-rule",
    "POST /api/v1/auth/app-portal-access/{app_id}",
    "POST /api/v1/auth/app/{app_id}/api-token",
    "POST /api/v1/auth/app/{app_id}/create-message-token",
    "POST /api/v1/auth/app/{app_id}/expire-all",
    "POST /api/v1/operational-webhook/endpoint",
    "POST /api/v1/stats/usage/app",
    "POST /api/v1/environment/import",
    "PUT /api/v1/management/environment-settings",
)
NAMES: Final = {"app_id": "acme", "endpoint_id": "first", "event_type_name": "invoice.paid"}


@pytest.fixture(scope="module")
def config() -> GatewayConfig:
    return replace(CONFIG, mails=True)


async def test_a_newcomer_is_refused_nothing_that_is_filled_in(http: httpx.AsyncClient) -> None:
    said = {place: one for place, (_, one) in said_of(RESOURCES).items()}

    refused = {}
    for place in STEPS:
        answer = await http.request(*place.format(**NAMES).split(" "), json=example_of(said[place]))
        if not answer.is_success:
            refused[place] = answer.text

    assert refused == {}
