"""The vocabulary of shapes: JSON Schemas as data, for what the API reads and shows. Pure.

A shape is never changed once it is made; every function gives a new one.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

Shape = Mapping[str, Any]

NULL: Final[Shape] = {"type": "null"}
TEXT: Final[Shape] = {"type": "string"}
FLAG: Final[Shape] = {"type": "boolean"}
TIME: Final[Shape] = {"type": "string", "format": "date-time"}
COUNT: Final[Shape] = {"type": "integer", "minimum": 0}
NUMBER: Final[Shape] = {"type": "number"}
DOCUMENT: Final[Shape] = {"type": "object"}  # of any content
ANYTHING: Final[Shape] = {}
PAGE: Final = "ListResponse_"  # begins the names of pages
_SHAPES: Final = "#/components/schemas/"


def text(
    *, least: int | None = None, most: int | None = None, pattern: re.Pattern[str] | None = None
) -> Shape:
    """Give a text of some characters."""
    limits = {"minLength": least, "maxLength": most, "pattern": pattern and as_ecma(pattern)}
    return {**TEXT, **_said(limits)}


def whole(least: int | None = None, most: int | None = None) -> Shape:
    """Give a whole number."""
    return {"type": "integer"} | _said({"minimum": least, "maximum": most})


def number(least: float | None = None, most: float | None = None) -> Shape:
    """Give a number."""
    return {**NUMBER, **_said({"minimum": least, "maximum": most})}


def word(words: Iterable[str | int]) -> Shape:
    """Give one of some words or numbers."""
    values = [one.value if hasattr(one, "value") else one for one in words]
    kind = "integer" if all(isinstance(value, int) for value in values) else "string"
    return {"type": kind, "enum": values}


def maybe(shape: Shape) -> Shape:
    """Give what may be null as well."""
    if isinstance(shape.get("type"), str) and "enum" not in shape:
        return {**shape, "type": [shape["type"], "null"]}
    about = {"description": shape["description"]} if "description" in shape else {}
    bare = {name: value for name, value in shape.items() if name != "description"}
    return {"anyOf": [bare, NULL], **about}


def many(shape: Shape, *, least: int | None = None, most: int | None = None) -> Shape:
    """Give a list."""
    return {"type": "array", "items": shape} | _said({"minItems": least, "maxItems": most})


def named(shape: Shape = TEXT, **limits: int) -> Shape:
    """Give an object of any names, each with something of a shape."""
    return {"type": "object", "additionalProperties": shape, **limits}


def thing(needed: Mapping[str, Shape], may: Mapping[str, Shape] | None = None) -> Shape:
    """Give an object whose fields are these; some may be left out."""
    required = {"required": list(needed)} if needed else {}
    return {"type": "object", "properties": {**needed, **(may or {})}, **required}


def ref(name: str) -> Shape:
    """Give a shape of this name, which stands among the components."""
    return {"$ref": f"{_SHAPES}{name}"}


def name_of(shape: Shape) -> str:
    """Give the name of a shape that stands among the components."""
    return str(shape["$ref"]).removeprefix(_SHAPES)


def page_of(name: str) -> Shape:
    """Give a page of things of this name."""
    return ref(f"{PAGE}{name}_")


def page(item: Shape) -> Shape:
    """Give the shape of a page, as `gateway.cursor` makes it."""
    return thing(
        {"data": many(item), "iterator": maybe(TEXT), "done": FLAG}, {"prevIterator": maybe(TEXT)}
    )


def about(shape: Shape, said: str) -> Shape:
    """Give a shape with a word about it."""
    return {**shape, "description": said}


def old(shape: Shape, instead: str) -> Shape:
    """Give the shape of a field that goes by another name by now."""
    return {**shape, "deprecated": True, "description": f"The older name of `{instead}`."}


def as_ecma(pattern: re.Pattern[str]) -> str:
    """Write a pattern as JSON Schema has it."""
    return f"^{pattern.pattern.removesuffix(chr(92) + 'Z')}$"


def names_in(shape: object) -> set[str]:
    """Give the names of the components that something refers to."""
    found, ahead = set[str](), [shape]
    while ahead:
        one = ahead.pop()
        if isinstance(one, dict | Mapping):  # almost all are `dict`s, which are told at once
            name = one.get("$ref")
            if isinstance(name, str) and name.startswith(_SHAPES):
                found.add(name.removeprefix(_SHAPES))
            ahead.extend(one.values())
        elif isinstance(one, list | tuple):
            ahead.extend(one)
    return found


def _said(limits: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in limits.items() if value is not None}
