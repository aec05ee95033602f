"""Errors as answers: the one place that knows status codes.

422 is `{"detail": [{loc, msg, type}]}`, everything else `{"code", "detail"}`, as the SDKs read it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import orjson
from starlette.responses import Response

from gateway.answer import JsonAnswer
from gateway.limits import OverLimit
from schema.errors import (
    BadState,
    Conflict,
    Forbidden,
    HooklineError,
    Invalid,
    NotFound,
    Overload,
    RequestFault,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

STATUS: Final[Mapping[type[HooklineError], int]] = {
    RequestFault: 400,
    BadState: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    Invalid: 422,
    OverLimit: 429,
    Overload: 503,
    Unavailable: 503,
    HooklineError: 500,
}
SERVER_ERROR: Final = 500


def status_of(error: HooklineError) -> int:
    """Say which status an error is answered with."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def respond(error: HooklineError) -> Response:
    """Turn an error into its answer."""
    status = status_of(error)
    if status == SERVER_ERROR:
        return server_error()
    if isinstance(error, Invalid):
        faults = [{"loc": list(f.loc), "msg": f.msg, "type": f.type} for f in error.faults]
        return _json({"detail": faults}, status)
    return _json({"code": error.code, "detail": str(error)}, status, _headers(error))


def server_error() -> Response:
    """Answer what nobody expected; what happened is for the log, not for the caller."""
    return _json({"code": "server_error", "detail": "Internal Server Error"}, SERVER_ERROR)


def nothing_here() -> Response:
    """Answer a path that no operation has."""
    return _json({"code": "not_found", "detail": "There is nothing at this path."}, 404)


def wrong_method(allowed: Sequence[str]) -> Response:
    """Answer a path that other methods have."""
    said = {"code": "method_not_allowed", "detail": "This path does not take this method."}
    return _json(said, 405, {"allow": ", ".join(allowed)})


def not_implemented(instead: str) -> Response:
    """Answer what Svix's API has and ours does not; `instead` says what to use, or is empty."""
    detail = f"Hookline does not serve this part of Svix's API. {instead}".rstrip()
    return _json({"code": "not_implemented", "detail": detail}, 501)


def malformed() -> Response:
    """Answer what is no HTTP/1.1."""
    return _json({"code": "malformed_request", "detail": "This is no HTTP/1.1 request."}, 400)


def too_slow(part: str, limit_s: float) -> Response:
    """Answer a request of which a part, its head or body, does not come to an end."""
    detail = f"The request's {part} did not come: the limit is {limit_s:g} s."
    return _json({"code": "request_timeout", "detail": detail}, 408)


def too_many_connections(limit: int) -> Response:
    """Answer whoever opens one connection too many."""
    detail = f"The gateway has as many connections as it may: the limit is {limit}."
    return _json({"code": "overload", "detail": detail}, 503, {"retry-after": "1"})


def head_too_large(limit_bytes: int) -> Response:
    """Answer a request whose line and headers are larger than the limit."""
    detail = f"The request's line and headers are too large: the limit is {limit_bytes} bytes."
    return _json({"code": "head_too_large", "detail": detail}, 431)


def _headers(error: HooklineError) -> Mapping[str, str] | None:
    if isinstance(error, OverLimit):
        return {"retry-after": str(math.ceil(error.retry_after_s)), **error.headers}
    if isinstance(error, Overload | Unavailable):
        return {"retry-after": str(math.ceil(error.retry_after_s))}
    if isinstance(error, Unauthenticated):
        return {"www-authenticate": "Bearer"}
    return None


def _json(data: object, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return JsonAnswer(orjson.dumps(data), status, headers)
