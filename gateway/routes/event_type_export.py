"""Event types as an OpenAPI description: `/api/v1/event-type/export/openapi`, a background task."""

from starlette.requests import Request
from starlette.responses import Response

from gateway import tasks
from gateway.answer import answer
from gateway.auth import Access, Caller
from gateway.parts import parts
from gateway.routes.background_task import show
from gateway.routes.event_type import ALL
from gateway.routing import AnyOperation, Operation
from schema.task import Plan, TaskKind


def routes() -> list[AnyOperation]:
    """List the operations."""
    return [
        Operation(
            method="POST",
            path=f"{ALL}/export/openapi",
            access=Access.OPERATOR,
            handler=export_openapi,
            writes=False,
        )
    ]


async def export_openapi(request: Request, caller: Caller) -> Response:
    """Have the event types that are not archived written as the webhooks of a description."""
    given = parts(request)
    drafted = tasks.draft(given, caller, None, TaskKind.EXPORT_OPENAPI, Plan())
    return answer(show(await tasks.make(given, caller, drafted)), 202)
