"""Protocol buffers, as bytes: the little of them that exporting needs. Pure.

By hand because the library's messages cost six times as much, several deliveries for each attempt;
tests hold these bytes to them. Source: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator
from typing import Final

_MORE: Final = 0x80
_BITS: Final = 7
_LOW: Final = 0x7F
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES: Final = {_FIXED64: 8, _FIXED32: 4}
_SHORT: Final = 16  # numbers of fields below it need one byte
_LONGEST: Final = 10  # bytes of a varint


class Malformed(ValueError):
    """These bytes are no message."""


def varint(value: int) -> bytes:
    """Write a number that is not negative."""
    if value < _MORE:
        return bytes((value,))
    written = bytearray()
    while value >= _MORE:
        written.append(value & _LOW | _MORE)
        value >>= _BITS
    written.append(value)
    return bytes(written)


def number(field: int, value: int) -> bytes:
    """Write a field that is a number, or one of an enumeration."""
    return varint(field << 3 | _VARINT) + varint(value)


def fixed64(field: int, value: int) -> bytes:
    """Write a field that is a number of eight bytes."""
    return varint(field << 3 | _FIXED64) + value.to_bytes(8, "little")


def block(field: int, value: bytes) -> bytes:
    """Write a field that is bytes, a text in UTF-8 or a message."""
    size = len(value)
    if field < _SHORT and size < _MORE:
        return bytes((field << 3 | _LENGTH, size)) + value
    return varint(field << 3 | _LENGTH) + varint(size) + value


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Read the fields of a message, one by one: numbers, or bytes as they stand.

    Raises:
        Malformed: It is none.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == _LENGTH:
            size, at = _varint(data, at)
        elif kind in _FIXED_BYTES:
            size = _FIXED_BYTES[kind]
        else:
            raise Malformed
        if at + size > len(data):
            raise Malformed
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(data[at : at + _LONGEST]):
        value |= (byte & _LOW) << _BITS * place
        if byte < _MORE:
            return value, at + place + 1
    raise Malformed
