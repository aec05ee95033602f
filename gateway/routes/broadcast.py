"""A message for every app of the environment: `/api/v1/msg/broadcast`."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import tasks
from gateway.answer import answer
from gateway.auth import Access, Caller
from gateway.body import parse_published, read_body
from gateway.draft import Draft, read_draft
from gateway.parts import parts
from gateway.routes.background_task import show as show_task
from gateway.routing import AnyOperation, Operation
from schema import event
from schema.task import Plan, Publication, TaskKind

_PATH: Final = "/api/v1/msg/broadcast"


def routes() -> list[AnyOperation]:
    """List the operations."""
    return [Operation(method="POST", path=_PATH, access=Access.OPERATOR, handler=broadcast)]


async def broadcast(request: Request, caller: Caller) -> Response:
    """Publish a message for each app that there is, as a task."""
    given = parts(request)
    body = await read_body(request)
    draft = read_draft(
        parse_published(body), max_bytes=given.config.max_payload_bytes, now=given.clock()
    )
    judged = await given.catalogue.judge(caller.environment_id, draft)
    if judged is not None:
        given.catalogue.note(judged)
    plan = Plan(publication=_publication(draft))
    drafted = tasks.draft(given, caller, None, TaskKind.BROADCAST, plan)
    return answer(show_task(await tasks.make(given, caller, drafted)), 202)


def _publication(draft: Draft) -> Publication:
    headers = dict(draft.headers or {})
    if draft.channels:
        headers[event.CHANNELS] = ",".join(draft.channels)
    if draft.tags:
        headers[event.TAGS] = ",".join(draft.tags)
    if draft.deliver_at is not None:
        headers[event.DELIVER_AT] = draft.deliver_at.isoformat()
    return Publication(
        event_type=draft.event_type,
        event_id=draft.event_id,
        payload=draft.payload.decode(),
        headers=headers,
    )
