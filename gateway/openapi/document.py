"""The OpenAPI document of a list of operations and of what is said of them. Pure.

An operation that nothing is said of is left out: a test names it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.auth import Access
from gateway.openapi.describe import JSON, Parameter, Resource, Said
from gateway.openapi.examples import EXAMPLES
from gateway.openapi.shape import PAGE, TEXT, Shape, name_of, names_in, page, ref, thing
from gateway.openapi.webhooks import webhooks
from gateway.routing import AnyOperation, OpenOperation, Operation

OPENAPI: Final = "3.1.0"
TITLE: Final = "Hookline"
VERSION: Final = "1"  # of the API, as its paths say
_ABOUT: Final = (
    "Delivers a product's events to its customers' webhook endpoints. Every answer has an"
    " `x-request-id`; every error says what is wrong, as JSON."
)
_SCHEME: Final = "HTTPBearer"
_KEYS: Final = {
    Access.TENANT: "Takes any key; one of an app within that app.",
    Access.READER: "Takes any key; one of an app within that app, a poller's for that poller.",
    Access.SUBSCRIBER: "Takes a key, or the one that configures this endpoint.",
    Access.OWNER: "Takes an operator's key of scope `*`.",
    Access.SERVICE: "Takes an operator's key, or an app's own within that app.",
    Access.PORTAL: "Takes a portal's key.",
    Access.PUBLISHER: "Takes an operator's key, or an app's that may publish.",
    Access.OPERATOR: "Takes an operator's key.",
    Access.INSTALLATION: "Takes an operator's key of scope `*`, or a group admin's.",
}
_IN_PATH: Final = re.compile(r"{(\w+)}")
_PATHS: Final = {
    "app_id": "The app's id or uid.",
    "endpoint_id": "The endpoint's id or uid.",
    "msg_id": "The message's id or event id.",
    "attempt_id": "The attempt's id.",
    "event_type_name": "The event type's name.",
    "letter_id": "The dead letter's id.",
    "group_id": "The group's id.",
    "rejected_id": "The rejected event's id.",
    "task_id": "The task's id.",
    "rule_id": "The alert rule's id.",
    "env_id": "The environment's id.",
    "key_id": "The key's id.",
    "integ_id": "The integration's id.",
    "sink_id": "The poller's id or uid.",
    "consumer_id": "The caller's own name for a consumer.",
}
ERRORS: Final[Mapping[int, str]] = {
    400: "The request cannot be read, or the state of a thing does not allow it.",
    401: "There is no key, or one that does not count.",
    403: "The key may not do this.",
    404: "There is no such thing in the caller's reach.",
    409: "An id, uid, event id or name is taken, or a thing is in the wrong state.",
    413: "The body is larger than the limit.",
    422: "Fields are not as they must be.",
    429: "The app publishes more than it may; `Retry-After` says when to try again.",
    500: "Our fault; the log has it under the request id.",
    503: "Something does not answer, or takes no more; `Retry-After` says when to try again.",
}
_AGAIN: Final = frozenset({429, 503})
_INVALID: Final = 422
_CHANGES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_SHAPES: Final = {
    "HttpErrorOut": thing({"code": TEXT, "detail": TEXT}),
    "HTTPValidationError": thing({"detail": {"type": "array", "items": ref("ValidationError")}}),
    "ValidationError": thing(
        {"loc": {"type": "array", "items": TEXT}, "msg": TEXT, "type": TEXT},
    ),
}


def document(operations: Iterable[AnyOperation], resources: Sequence[Resource]) -> dict[str, Any]:
    """Make the document."""
    described = said_of(resources)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        found = described.get(place_of(operation))
        if found is not None:
            shown = _operation(operation, *found)
            paths.setdefault(operation.path, {})[operation.method.lower()] = shown
    return {
        "openapi": OPENAPI,
        "info": {"title": TITLE, "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{_SCHEME: []}],
        "tags": [{"name": one.tag, "description": one.about} for one in resources],
        "paths": paths,
        "webhooks": webhooks(),
        "components": {
            "securitySchemes": {_SCHEME: {"type": "http", "scheme": "bearer"}},
            "responses": {_name_of(status): _problem(status) for status in ERRORS},
            "schemas": _schemas(resources, paths),
        },
    }


def place_of(operation: AnyOperation) -> str:
    """Give the method and path that an operation is described under."""
    return f"{operation.method} {operation.path}"


def said_of(resources: Sequence[Resource]) -> dict[str, tuple[str, Said]]:
    """Give what is said of each operation, with its tag."""
    return {
        place: (resource.tag, said)
        for resource in resources
        for place, said in resource.operations.items()
    }


def _operation(operation: AnyOperation, tag: str, said: Said) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "operationId": said.id,
        "tags": [tag],
        "summary": said.summary,
        "parameters": [*_in_path(operation.path), *(_in_query(one) for one in said.query)],
        "responses": {
            **{str(status): _answer(shape, said.media) for status, shape in said.answers.items()},
            **{
                str(status): {"$ref": f"#/components/responses/{_name_of(status)}"}
                for status in _errors(operation, said)
            },
        },
    }
    if isinstance(operation, Operation):
        shown["description"] = _KEYS.get(operation.access, "Takes a key.")
    else:
        shown["security"] = []
    if said.body is not None:
        content = {JSON: {"schema": said.body, "example": example_of(said)}}
        shown["requestBody"] = {"required": said.body_needed, "content": content}
    if said.deprecated:
        shown["deprecated"] = True
    return shown


def example_of(said: Said) -> Mapping[str, object] | None:
    """Give a body that an operation may be sent; None if it reads none."""
    return said.example or (None if said.body is None else EXAMPLES[name_of(said.body)])


def _errors(operation: AnyOperation, said: Said) -> Iterator[int]:
    """Tell which errors an operation may answer."""
    if isinstance(operation, OpenOperation):
        return
    looks_up = "{" in operation.path
    wanted = {400, 401, 403, 500, 503, *said.errors}
    wanted |= {404} if looks_up else set()
    wanted |= {409} if operation.method in _CHANGES else set()
    wanted |= {413} if said.body is not None else set()
    wanted |= {422} if said.body is not None or said.query else set()
    yield from sorted(wanted - said.answers.keys())


def _answer(shape: Shape | None, media: str) -> dict[str, Any]:
    if shape is None:
        return {"description": "Done."}
    return {"description": "Done.", "content": {media: {"schema": shape}}}


def _problem(status: int) -> dict[str, Any]:
    name = "HTTPValidationError" if status == _INVALID else "HttpErrorOut"
    shown: dict[str, Any] = {
        "description": ERRORS[status],
        "content": {JSON: {"schema": ref(name)}},
    }
    if status in _AGAIN:
        shown["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return shown


def _name_of(status: int) -> str:
    return f"Error{status}"


def _in_path(path: str) -> Iterator[dict[str, Any]]:
    for name in _IN_PATH.findall(path):
        described = {"description": _PATHS[name]} if name in _PATHS else {}
        yield {"name": name, "in": "path", "required": True, "schema": TEXT, **described}


def _in_query(parameter: Parameter) -> dict[str, Any]:
    described = {"description": parameter.about} if parameter.about else {}
    return {"name": parameter.name, "in": "query", "schema": parameter.shape, **described}


def _schemas(resources: Sequence[Resource], paths: Mapping[str, Any]) -> dict[str, Shape]:
    """Give the shapes that the operations lead to, pages among them, in order."""
    known = {**_SHAPES} | {
        name: shape for resource in resources for name, shape in resource.shapes.items()
    }
    found: dict[str, Shape] = {}
    ahead = names_in(paths) | set(_SHAPES)
    while ahead:
        name = ahead.pop()
        item = name.removeprefix(PAGE).removesuffix("_")
        found[name] = known[name] if item == name else page(ref(item))
        ahead |= names_in(found[name]) - found.keys()
    return dict(sorted(found.items()))
