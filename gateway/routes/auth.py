"""About the caller: `/api/v1/auth`."""

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer
from gateway.auth import Access, Caller
from gateway.routing import AnyOperation, Operation
from schema.api_key import ALL_SCOPES


def routes() -> list[AnyOperation]:
    """List the operations about the caller."""
    path = "/api/v1/auth/whoami"
    return [Operation(method="GET", path=path, access=Access.TENANT, handler=whoami)]


async def whoami(_request: Request, caller: Caller) -> Response:
    """Tell a caller who we think they are."""
    reaches_all = ALL_SCOPES in caller.scopes
    return answer(
        {
            "envId": caller.environment_id,
            "appId": caller.app_id,
            "streamAppId": None,
            "permissionSource": "GlobalAuthToken" if reaches_all else "RegionalAuthToken",
            "sessionId": caller.session_id,
        }
    )
