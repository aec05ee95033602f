"""Messages by a body: `/api/v1/app/{app_id}/msg/search`, the list whose filters are no query.

It changes nothing, so a repeat is done again, whatever its idempotency key.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer
from gateway.auth import Access, Caller, resolve_app
from gateway.body import Fields, read_fields
from gateway.cursor import MAX_LIMIT, NO_ITERATOR, envelope, page_of
from gateway.parts import parts
from gateway.routes.message import ALL, show
from gateway.routing import AnyOperation, Operation
from gateway.window import bounded, is_key
from schema import event, ids
from schema.api_key import Capability
from schema.store import message as store

MOST_TYPES: Final = 1_000  # that a search may name


def routes() -> list[AnyOperation]:
    """List the operation."""
    return [
        Operation(
            method="POST",
            path=f"{ALL}/search",
            access=Access.TENANT,
            capability=Capability.VIEW_BASE,
            handler=search,
            writes=False,
            knows_repeats=True,
        )
    ]


async def search(request: Request, caller: Caller) -> Response:
    """Give a page of the app's messages, newest first, without payloads unless asked for."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    limit = fields.optional_integer("limit", minimum=1, maximum=MAX_LIMIT)
    page = page_of(limit, fields.optional_text("iterator"), ascending=False)
    if page.iterator is not None and not is_key(ids.MESSAGE, page.iterator):
        fields.fault("iterator", NO_ITERATOR)
    before, after = fields.optional_time("before"), fields.optional_time("after")
    wanted = _read_filter(fields)
    with_content = fields.boolean("with_content", default=False)
    fields.check()
    window = bounded(page, before, after, ids.MESSAGE, given.clock())
    async with given.connection() as link:
        rows = await store.page(link, app.id, window.span, wanted, with_payload=with_content)
    return answer(
        envelope(
            rows, window.page, lambda row: row.id, lambda row: show(row, with_content=with_content)
        )
    )


def _read_filter(fields: Fields) -> store.Filter:
    types = fields.optional_texts(
        "event_types", pattern=event.EVENT_TYPE_PATTERN, min_items=0, max_items=MOST_TYPES
    )
    return store.Filter(
        event_types=types or None,
        channel=fields.optional_text("channel", pattern=event.CHANNEL_PATTERN),
        tag=fields.optional_text("tag", pattern=event.TAG_PATTERN),
    )
