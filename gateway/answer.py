"""JSON answers. Times are RFC 3339 with a Z."""

from typing import Final

import orjson
from starlette.responses import Response

_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
JSON: Final = "application/json"


def answer(data: object, status: int = 200) -> Response:
    """Answer with JSON; `orjson.Fragment` inserts bytes that are JSON already."""
    return Response(orjson.dumps(data, option=_OPTIONS), status_code=status, media_type=JSON)


def nothing() -> Response:
    """Answer 204."""
    return Response(status_code=204)
