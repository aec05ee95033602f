"""Ids that sort by time: a prefix and 27 base62 characters of a KSUID with milliseconds.

The 20 bytes are 4 of seconds since 2014-05-13T16:53:20Z, 1 of milliseconds / 4, and 15 of chance
(the layout that Svix's ids have, so that ours sort and look alike). Byte order is time order;
columns that hold ids are `COLLATE "C"`.
"""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from typing import Final, NewType

AppId = NewType("AppId", str)
EndpointId = NewType("EndpointId", str)
MessageId = NewType("MessageId", str)
EnvironmentId = NewType("EnvironmentId", str)

ENVIRONMENT: Final = "org_"
APP: Final = "app_"
ENDPOINT: Final = "ep_"
MESSAGE: Final = "msg_"
ATTEMPT: Final = "atmpt_"
DEAD_LETTER: Final = "dl_"
REJECTED_EVENT: Final = "rej_"
API_KEY: Final = "key_"
ENDPOINT_SECRET: Final = "sec_"  # noqa: S105 a prefix
EVENT_TYPE: Final = "evtype_"
AUDIT: Final = "audit_"

EPOCH_S: Final = 1_400_000_000
LENGTH: Final = 27  # base62 characters behind the prefix
_CHANCE_BYTES: Final = 15
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_PAIRS: Final = [high + low for high in _ALPHABET for low in _ALPHABET]
_PAIR_BASE: Final = 62 * 62
_EPOCH: Final = datetime.fromtimestamp(EPOCH_S, UTC)


def new_id(prefix: str, at: datetime, chance: bytes | None = None) -> str:
    """Make an id of the moment `at`.

    Args:
        prefix: One of this module's constants.
        at: Aware time; resolution is 4 ms.
        chance: 15 bytes; by default from the system's generator.
    """
    raw = _moment(at) + (os.urandom(_CHANCE_BYTES) if chance is None else chance)
    return prefix + _base62(int.from_bytes(raw, "big"))


def derived_id(prefix: str, at: datetime, source: bytes) -> str:
    """Make the id that the same moment and `source` always give."""
    return new_id(prefix, at, hashlib.sha256(source).digest()[:_CHANCE_BYTES])


def first_id(prefix: str, at: datetime) -> str:
    """Give the smallest id of the moment `at`: a bound for ranges and partitions."""
    return new_id(prefix, at, bytes(_CHANCE_BYTES))


def time_of(ident: str) -> datetime:
    """Tell when an id was made.

    Raises:
        ValueError: The text is not an id of ours.
    """
    body = ident.rpartition("_")[2]
    if len(body) != LENGTH:
        msg = f"{ident!r} is not an id"
        raise ValueError(msg)
    value = 0
    try:
        for letter in body:
            value = value * 62 + _VALUES[letter]
        raw = value.to_bytes(20, "big")
    except (KeyError, OverflowError):
        msg = f"{ident!r} is not an id"
        raise ValueError(msg) from None
    seconds = int.from_bytes(raw[:4], "big")
    return _EPOCH + timedelta(seconds=seconds, milliseconds=raw[4] << 2)


def is_id(prefix: str, text: str) -> bool:
    """Tell whether `text` has the form of an id with this prefix."""
    body = text[len(prefix) :]
    return text.startswith(prefix) and len(body) == LENGTH and body.isascii() and body.isalnum()


def shard_of(app_id: str, shards: int) -> int:
    """Say which of `shards` an app belongs to: FNV-1a 32, the hash of NATS's `partition()`."""
    value = 2_166_136_261
    for byte in app_id.encode():
        value = ((value ^ byte) * 16_777_619) & 0xFFFF_FFFF
    return value % shards


def _moment(at: datetime) -> bytes:
    since = at - _EPOCH
    seconds = since.days * 86_400 + since.seconds
    if not 0 <= seconds < 1 << 32:
        msg = f"{at} is outside of what an id can say"
        raise ValueError(msg)
    return seconds.to_bytes(4, "big") + bytes((since.microseconds // 4_000,))


def _base62(value: int) -> str:
    pairs = []
    for _ in range(14):
        value, rest = divmod(value, _PAIR_BASE)
        pairs.append(_PAIRS[rest])
    return "".join(reversed(pairs))[1:]
