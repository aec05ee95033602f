"""Finds where values stand in a JSON text, so that their bytes can be taken out as they are.

The text must be JSON already (a parser has taken it): nothing is checked here a second time.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import orjson

_OPENING: Final = re.compile(rb"[ \t\n\r]*+\{")
_HEAD: Final = re.compile(
    rb'[ \t\n\r]*+"([^"\\]*+(?:\\.[^"\\]*+)*+)"[ \t\n\r]*+:[ \t\n\r]*+', re.DOTALL
)
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR: Final = re.compile(rb"[^,}\] \t\n\r]*+")  # a number or a word
_COMMA: Final = re.compile(rb"[ \t\n\r]*+,")
# All up to the next bracket that is not inside of a string.
_TO_BRACKET: Final = re.compile(
    rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+', re.DOTALL
)
_SPACE: Final = rb"[ \t\n\r]*+"
_TEXT: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'


def _nested(depth: int) -> bytes:
    """Write the pattern of an object or list that nests no deeper."""
    inside = rb'[^"{}\[\]]++|' + _TEXT
    pattern = rb"[{\[](?:%b)*+[}\]]" % inside
    for _ in range(depth - 1):
        pattern = rb"[{\[](?:%b|%b)*+[}\]]" % (inside, pattern)
    return pattern


# A member that holds no other, whole, and the comma or brace behind it.
_SMALL_MEMBER: Final = re.compile(
    rb'%b"([^"\\]*+(?:\\.[^"\\]*+)*+)"%b:%b(%b|[^"{}\[\], \t\n\r]++)%b([,}])'
    % (_SPACE, _SPACE, _SPACE, _TEXT, _SPACE),
    re.DOTALL,
)
_NESTED: Final = re.compile(_nested(8), re.DOTALL)  # what nests deeper does not match
_SPACES: Final = re.compile(_SPACE)
_BETWEEN: Final = re.compile(_SPACE + b",?" + _SPACE)  # behind an item
_LIST: Final = ord("[")
_CLOSE_LIST: Final = ord("]")
_SHUT: Final = ord("}")
_NOTHING: Final[Mapping[str, object]] = {}
_OPEN: Final = frozenset(b"{[")
_BRACE: Final = ord("{")
_QUOTE: Final = ord('"')

Spans = dict[str, tuple[int, int]]  # start and end by field


def spans(text: bytes, names: Collection[str], parsed: Mapping[str, object] = _NOTHING) -> Spans:
    """Give start and end of the values of an object's fields; of a repeated one's last.

    Args:
        text: A JSON object.
        names: The fields that are looked for.
        parsed: What a parser made of it, if it is at hand: with it the search is faster.
    """
    found: Spans = {}
    before = _OPENING.match(text)
    while before is not None and (head := _HEAD.match(text, before.end())) is not None:
        name, start = _name(head[1]), head.end()
        end = 0
        if name in names:
            # One guess in all: it costs the more, the longer the text.
            end = _as_written(text, start, parsed.get(name)) or (
                0 if found else _guess(text, start)
            )
            end = end or _value_end(text, start)
            found[name] = (start, end)
        before = _COMMA.match(text, end or _value_end(text, start))
    return found


def compact(text: bytes, name: str, field: str, values: Sequence[object]) -> list[bytes] | None:
    """Cut a field out of each item of a list, if all is written as we would write it; or None.

    Most programs write JSON without blanks, and then this takes a fraction of `item_spans`.

    Args:
        text: A JSON object; its only field is a list of objects.
        name: The field that is the list.
        field: The field of the items. What else they have are texts.
        values: What a parser made of the field, item by item: objects.
    """
    key = f'"{field}"'.encode()
    # Inside of a text each quote has a backslash before it, so this counts keys. With one for each
    # item, none is repeated and none is in an item's depths.
    if not text.startswith(f'{{"{name}":['.encode()) or text.count(key) != len(values):
        return None
    found = []
    at = 0
    key += b":"
    for value in values:
        at = text.find(key, at) + len(key)
        end = _as_written(text, at, value)
        if not end:
            return None
        found.append(text[at:end])
        at = end
    return found


def item_spans(
    text: bytes, name: str, names: Collection[str], parsed: Sequence[object]
) -> list[Spans]:
    """Give `spans` of each item of the list that is an object's field; {} for what is no object.

    Args:
        text: A JSON object; its field is a list.
        name: The field that is the list; of a repeated one the last counts.
        names: The fields of the items that are looked for.
        parsed: What a parser made of the list.
    """
    found: list[Spans] = []
    before = _OPENING.match(text)
    while before is not None and (head := _HEAD.match(text, before.end())) is not None:
        if _name(head[1]) == name and text[head.end()] == _LIST:
            found, end = _items(text, head.end() + 1, names, parsed)
        else:
            end = _value_end(text, head.end())
        before = _COMMA.match(text, end)
    return found


def _items(
    text: bytes, at: int, names: Collection[str], parsed: Sequence[object]
) -> tuple[list[Spans], int]:
    """Go through a list behind its bracket; give its items' fields, and where it ends."""
    found: list[Spans] = []
    at = _end(_SPACES, text, at)
    while text[at] != _CLOSE_LIST:
        if text[at] == _BRACE:
            # Of a list that stands twice the first one's items are other ones, or more.
            item = parsed[len(found)] if len(found) < len(parsed) else None
            known = item if isinstance(item, dict) else _NOTHING
            fields, at = _members(text, at + 1, names, known)
        else:
            fields, at = {}, _value_end(text, at)
        found.append(fields)
        at = _end(_BETWEEN, text, at)
    return found, at + 1


def _members(
    text: bytes, at: int, names: Collection[str], parsed: Mapping[str, object]
) -> tuple[Spans, int]:
    """Go through an object behind its brace; give its fields, and where it ends."""
    found: Spans = {}
    while True:
        member = _SMALL_MEMBER.match(text, at)
        if member is not None:
            name, (start, end), at = _name(member[1]), member.span(2), member.end()
            last = member[3] == b"}"
        elif (head := _HEAD.match(text, at)) is not None:
            name, start = _name(head[1]), head.end()
            end = _as_written(text, start, parsed.get(name)) or _value_end(text, start)
            at = _end(_SPACES, text, end)
            last = text[at] == _SHUT
            at += 1
        else:  # no member at all
            return found, _end(_SPACES, text, at) + 1
        if name in names:
            found[name] = (start, end)
        if last:
            return found, at


def _as_written(text: bytes, at: int, value: object) -> int:
    """Give the end of an object, if it is written as we would write it; or 0.

    What stands here is the value then, whole: no object is the beginning of another one.
    """
    if not isinstance(value, dict):
        return 0
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError:  # it nests deeper than is written, though not than is read
        return 0
    return at + len(written) if text.startswith(written, at) else 0


def _name(raw: bytes) -> str:
    """Read a field's name."""
    read: str = orjson.loads(b'"%b"' % raw) if b"\\" in raw else raw.decode()
    return read


def _value_end(text: bytes, at: int) -> int:
    first = text[at]
    if first == _QUOTE:
        return _end(_STRING, text, at)
    if first not in _OPEN:
        return _end(_SCALAR, text, at)
    return _bracketed_end(text, at)


def _guess(text: bytes, at: int) -> int:
    """Try the last brace but one, which is right if what follows an object is plain; or give 0.

    What parses whole is the value: no object is the beginning of another one.
    """
    if text[at] != _BRACE:
        return 0
    end = text.rfind(b"}", at, text.rfind(b"}")) + 1
    try:
        orjson.loads(text[at:end])
    except orjson.JSONDecodeError:
        return 0
    return end


def _bracketed_end(text: bytes, at: int) -> int:
    shallow = _NESTED.match(text, at)
    if shallow is not None:
        return shallow.end()
    depth = 0
    while True:
        at = _end(_TO_BRACKET, text, at)
        depth += 1 if text[at] in _OPEN else -1
        at += 1
        if depth == 0:
            return at


def _end(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    """Say where a pattern that always matches ends."""
    found = pattern.match(text, at)
    return at if found is None else found.end()
