"""What Svix's API has and Hookline does not: answered 501, with what to use instead.

Paths only: whatever method is used there, unless an operation of ours takes it. Source: the paths
of Svix's public API, version 1.
"""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.problems import not_implemented
from gateway.routing import OpenHandler, OpenOperation, Table, build

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
INSTEAD: Final[Mapping[str, tuple[str, ...]]] = {
    "Use a key.": (
        "/api/v1/auth/app/{app_id}/mcp-token",
        "/api/v1/auth/app/{app_id}/mcp-token/{token_id}",
        "/api/v1/auth/dashboard/mcp-token",
        "/api/v1/auth/dashboard/mcp-token/{token_id}",
    ),
    "Make one at /api/v1/app/{app_id}/auto-config: Svix's SDKs take its tokens as well.": (
        "/api/v1/app/{app_id}/autoconfig",
        "/api/v1/app/{app_id}/autoconfig/{autoconfig_id}",
        "/api/v1/app/{app_id}/autoconfig/{autoconfig_id}/destination",
        "/api/v1/app/{app_id}/autoconfig/{autoconfig_id}/endpoint",
        "/api/v1/app/{app_id}/autoconfig/{autoconfig_id}/rotate",
    ),
    "There are no streams and no sinks: publish messages, and make endpoints for them.": (
        "/api/v1/app/{app_id}/stream/sink",
        "/api/v1/app/{app_id}/stream/sink/{sink_id}",
        "/api/v1/app/{app_id}/stream/sink/{sink_id}/force-retry",
        "/api/v1/app/{app_id}/stream/sink/{sink_id}/headers",
        "/api/v1/app/{app_id}/stream/sink/{sink_id}/last-acked-event",
        "/api/v1/app/{app_id}/stream/sink/{sink_id}/next-event",
        "/api/v1/app/{app_id}/stream/sink/{sink_id}/secret",
        "/api/v1/app/{app_id}/stream/sink/{sink_id}/secret/rotate",
        "/api/v1/app/{app_id}/stream/sink/{sink_id}/skip",
        "/api/v1/app/{app_id}/stream/sink/{sink_id}/transformation",
        "/api/v1/auth/stream-logout",
        "/api/v1/auth/stream-portal-access/{stream_id}",
        "/api/v1/auth/stream/{stream_id}/expire-all",
        "/api/v1/auth/stream/{stream_id}/sink/{sink_id}/poller/token",
        "/api/v1/auth/stream/{stream_id}/sink/{sink_id}/poller/token/rotate",
        "/api/v1/stream",
        "/api/v1/stream/event-type",
        "/api/v1/stream/event-type/{name}",
        "/api/v1/stream/transformations/simulate",
        "/api/v1/stream/{stream_id}",
        "/api/v1/stream/{stream_id}/alert-email",
        "/api/v1/stream/{stream_id}/events",
        "/api/v1/stream/{stream_id}/events/latest",
        "/api/v1/stream/{stream_id}/sink",
        "/api/v1/stream/{stream_id}/sink/{sink_id}",
        "/api/v1/stream/{stream_id}/sink/{sink_id}/attempt",
        "/api/v1/stream/{stream_id}/sink/{sink_id}/attempt/{attempt_id}",
        "/api/v1/stream/{stream_id}/sink/{sink_id}/events",
        "/api/v1/stream/{stream_id}/sink/{sink_id}/force-retry",
        "/api/v1/stream/{stream_id}/sink/{sink_id}/headers",
        "/api/v1/stream/{stream_id}/sink/{sink_id}/last-acked-event",
        "/api/v1/stream/{stream_id}/sink/{sink_id}/next-event",
        "/api/v1/stream/{stream_id}/sink/{sink_id}/secret",
        "/api/v1/stream/{stream_id}/sink/{sink_id}/secret/rotate",
        "/api/v1/stream/{stream_id}/sink/{sink_id}/skip",
        "/api/v1/stream/{stream_id}/sink/{sink_id}/transformation",
    ),
    "Give the endpoint code of its own: PATCH on its `transformation`.": (
        "/api/v1/app/{app_id}/endpoint/{endpoint_id}/connector",
        "/api/v1/app/{app_id}/endpoint/{endpoint_id}/connector/oauth/hubspot",
        "/api/v1/connector",
        "/api/v1/connector/oauth/discord",
        "/api/v1/connector/oauth/hubspot",
        "/api/v1/connector/oauth/slack",
        "/api/v1/connector/simulate",
        "/api/v1/connector/{connector_id}",
        "/api/v1/connector/{connector_id}/options",
    ),
    "Use endpoints: /api/v1/app/{app_id}/endpoint.": (
        "/api/v1/app/{app_id}/destination",
        "/api/v1/app/{app_id}/destination/{destination_id}",
        "/api/v1/app/{app_id}/destination/{destination_id}/attempt",
        "/api/v1/app/{app_id}/destination/{destination_id}/attempt/{attempt_id}",
        "/api/v1/app/{app_id}/destination/{destination_id}/force-retry",
        "/api/v1/app/{app_id}/destination/{destination_id}/headers",
        "/api/v1/app/{app_id}/destination/{destination_id}/last-acked-event",
        "/api/v1/app/{app_id}/destination/{destination_id}/next-event",
        "/api/v1/app/{app_id}/destination/{destination_id}/secret",
        "/api/v1/app/{app_id}/destination/{destination_id}/secret/rotate",
        "/api/v1/app/{app_id}/destination/{destination_id}/skip",
        "/api/v1/app/{app_id}/destination/{destination_id}/transformation",
    ),
    "Receive it at an address of your own and publish it: POST /api/v1/app/{app_id}/msg.": (
        "/api/v1/app/{app_id}/inbound/rotate-url",
        "/ingest/api/v1/source",
        "/ingest/api/v1/source/{source_id}",
        "/ingest/api/v1/source/{source_id}/dashboard",
        "/ingest/api/v1/source/{source_id}/endpoint",
        "/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}",
        "/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/headers",
        "/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/secret",
        "/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/secret/rotate",
        "/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/transformation",
        "/ingest/api/v1/source/{source_id}/log",
        "/ingest/api/v1/source/{source_id}/token/rotate",
    ),
}


def table() -> Table:
    """Make the table that finds what is said of a path."""
    return build(
        OpenOperation(method=method, path=path, handler=_saying(instead))
        for instead, paths in INSTEAD.items()
        for path in paths
        for method in _METHODS
    )


def _saying(instead: str) -> OpenHandler:
    async def say(_request: Request) -> Response:
        return not_implemented(instead)

    return say
