"""Keys of group admins, and members of an organization, of which there are none.

A group admin sees to environments, their event types, keys, settings and operational webhooks, and
reaches nothing of an app. By Svix's API: `/api/v1/auth/org-group-admin-token`.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer
from gateway.auth import Access, Caller
from gateway.body import read_fields
from gateway.cursor import envelope, read_page
from gateway.routes.key import expire, list_keys, make, rename
from gateway.routing import AnyOperation, Operation
from schema.scope import ALL_SCOPES

_ALL: Final = "/api/v1/auth/org-group-admin-token"
_ONE: Final = f"{_ALL}/{{key_id}}"
_MEMBERS: Final = "/api/v1/management/organization/member"


def routes() -> list[AnyOperation]:
    """List the operations on keys of group admins."""
    access = Access.OWNER
    return [
        Operation(method="GET", path=_ALL, access=access, handler=list_keys),
        Operation(method="POST", path=_ALL, access=access, handler=create),
        Operation(method="PUT", path=_ONE, access=access, handler=rename),
        Operation(method="POST", path=f"{_ONE}/expire", access=access, handler=expire),
        Operation(method="GET", path=_MEMBERS, access=Access.INSTALLATION, handler=list_members),
    ]


async def create(request: Request, caller: Caller) -> Response:
    """Make a key of a group admin; this answer is the only one that ever shows it."""
    fields = await read_fields(request)
    return await make(request, caller, fields, (ALL_SCOPES,), status=201)


async def list_members(request: Request, _caller: Caller) -> Response:
    """Give an empty page: there are keys, and no members."""
    page = read_page(request, default_ascending=True, check=lambda _: False)
    return answer(envelope((), page, str, str))
