"""The API's description: `/api/v1/openapi.json`. Takes no key; its bytes are made at the start."""

from collections.abc import Sequence
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import JsonAnswer
from gateway.openapi.contents import RESOURCES
from gateway.openapi.document import document
from gateway.routing import AnyOperation, OpenOperation

PATH: Final = "/api/v1/openapi.json"


def routes(operations: Sequence[AnyOperation]) -> list[AnyOperation]:
    """List the operations that tell about others."""
    body = orjson.dumps(document(operations, RESOURCES))

    async def describe(_request: Request) -> Response:
        """Give the OpenAPI document of what is served."""
        return JsonAnswer(body)

    return [OpenOperation(method="GET", path=PATH, handler=describe)]
