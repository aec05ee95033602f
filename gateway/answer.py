"""JSON answers. Times are RFC 3339 with a Z."""

from collections.abc import Mapping
from typing import Final

import orjson
from starlette.responses import Response

from schema.json_text import read_json

_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
JSON: Final = "application/json"
_CONTENT_TYPE: Final = (b"content-type", JSON.encode())


class JsonAnswer(Response):
    """An answer whose bytes are JSON. Made without Starlette's reading of every header."""

    media_type = JSON

    def __init__(
        self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Take the bytes; the names of headers are in lower case."""
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), _CONTENT_TYPE]
        if headers:
            self.raw_headers += [
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
            ]


def answer(data: object, status: int = 200, headers: Mapping[str, str] | None = None) -> JsonAnswer:
    """Answer with JSON; `orjson.Fragment` inserts bytes that are JSON already."""
    return JsonAnswer(orjson.dumps(data, option=_OPTIONS), status, headers)


def is_json(payload: bytes) -> bool:
    """Tell whether a payload can stand in an answer: one that was published raw may be anything."""
    try:
        read_json(payload)
    except orjson.JSONDecodeError:
        return False
    return True


def nothing() -> Response:
    """Answer 204."""
    return Response(status_code=204)
