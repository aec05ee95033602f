"""Collectors of environments, for tests: what is set, what waits for them, what came to them."""

from typing import Any

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schema.otel import headers_context
from schema.store import otel
from schema.store.link import Pool
from signer.vault import Vault
from tests.dispatching import VAULT, now
from tests.receiver import Received


async def collecting(
    pool: Pool,
    environment_id: str,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    vault: Vault = VAULT,
    on: bool = True,
) -> None:
    """Set an environment's collector, as the gateway does."""
    context = headers_context(environment_id)
    sealed = None if headers is None else vault.seal(orjson.dumps(headers), context=context)
    async with pool.acquire() as link, link.transaction():
        await otel.put(link, environment_id, url=url, headers=sealed, at=now())
        await link.execute(
            "UPDATE environment SET settings = settings"
            " || jsonb_build_object('enableOtlp', $2::bool) WHERE id = $1",
            environment_id,
            on,
        )


async def staged(pool: Pool, environment_id: str | None = None) -> list[str]:
    """Give the attempts that wait, of one environment or of all, in order."""
    rows = await pool.fetch(
        "SELECT attempt_id FROM otel_attempt"
        " WHERE $1::text IN (environment_id, '') ORDER BY number",
        environment_id or "",
    )
    return [row["attempt_id"] for row in rows]


def spans_in(received: Received) -> list[Span]:
    """Give the spans of a request."""
    request = ExportTraceServiceRequest.FromString(received.body)
    return [
        span
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def attempts_in(received: Received) -> list[Any]:
    """Give the attempts of a request, by the ids that their outer spans name."""
    return [
        one.value.string_value
        for span in spans_in(received)
        if span.name == "message_attempt"
        for one in span.attributes
        if one.key == "attempt_id"
    ]
