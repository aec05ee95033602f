"""Finds where a value stands in a JSON object, so that its bytes can be taken out as they are.

The text must be JSON already (a parser has taken it): nothing is checked here a second time.
"""

import re
from collections.abc import Collection
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
_OPEN: Final = frozenset(b"{[")
_BRACE: Final = ord("{")
_QUOTE: Final = ord('"')


def spans(text: bytes, names: Collection[str]) -> dict[str, tuple[int, int]]:
    """Give start and end of the values of an object's fields; of a repeated one's last.

    Args:
        text: A JSON object.
        names: The fields that are looked for.
    """
    found: dict[str, tuple[int, int]] = {}
    before = _OPENING.match(text)
    while before is not None and (head := _HEAD.match(text, before.end())) is not None:
        name, start = head[1], head.end()
        read: str = orjson.loads(b'"%b"' % name) if b"\\" in name else name.decode()
        # One guess in all: it costs the more, the longer the text.
        end = _guess(text, start) if read in names and not found else 0
        end = end or _value_end(text, start)
        if read in names:
            found[read] = (start, end)
        before = _COMMA.match(text, end)
    return found


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
