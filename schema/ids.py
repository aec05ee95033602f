"""Ids that sort by time: a prefix and 27 base62 characters of a KSUID with milliseconds.

They write 20 bytes: 4 of seconds since 2014-05-13T16:53:20Z, 1 of milliseconds / 4, 15 of chance
(the layout that Svix's ids have, so that ours sort and look alike). Byte order is time order;
columns that hold ids are `COLLATE "C"`.
"""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from functools import lru_cache
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
TASK: Final = "qtask_"
ALERT_RULE: Final = "alr_"
INTEGRATION: Final = "integ_"
TOKEN: Final = "jwt_"  # noqa: S105 a prefix; behind it stands a digest, no id
POLLER: Final = "poll_"

MOMENT: Final = timedelta(milliseconds=4)  # what an id can tell apart
EPOCH_S: Final = 1_400_000_000
LENGTH: Final = 27  # base62 characters behind the prefix
_HEAD_CHARACTERS: Final = 10  # say the moment, and nothing else
CHANCE_BYTES: Final = LENGTH - _HEAD_CHARACTERS  # a character each: 101 bits of chance
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_PAIRS: Final = [high + low for high in _ALPHABET for low in _ALPHABET]
_PAIR_BASE: Final = 62 * 62
_TAIL_BASE: Final = 62 ** (LENGTH - _HEAD_CHARACTERS)
_LETTERS: Final = bytes(ord(_ALPHABET[byte % 62]) for byte in range(256))
_EPOCH: Final = datetime.fromtimestamp(EPOCH_S, UTC)


def new_id(prefix: str, at: datetime, chance: bytes | None = None) -> str:
    """Make an id of the moment `at`.

    Args:
        prefix: One of this module's constants.
        at: Aware time; resolution is 4 ms.
        chance: `CHANCE_BYTES`; by default from the system's generator.
    """
    chance = os.urandom(CHANCE_BYTES) if chance is None else chance
    return prefix + _head(_moment(at)) + chance.translate(_LETTERS).decode()


def derived_id(prefix: str, at: datetime, source: bytes) -> str:
    """Make the id that the same moment and `source` always give."""
    return new_id(prefix, at, hashlib.sha256(source).digest()[:CHANCE_BYTES])


def chance_of(ident: str) -> str:
    """Give the characters that tell an id from others of its moment."""
    return ident[-CHANCE_BYTES:]


def first_id(prefix: str, at: datetime) -> str:
    """Give the smallest id of the moment `at`: a bound for ranges and partitions."""
    return prefix + _pairs(_moment(at) << 120, (LENGTH + 1) // 2)[1:]


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


def rough_time_of(ident: str) -> datetime:
    """Tell when an id was made, to a few milliseconds, at a fraction of the cost.

    Raises:
        ValueError: The text is not an id of ours.
    """
    body = ident.rpartition("_")[2]
    return _first_time_of(body[:_HEAD_CHARACTERS])


@lru_cache(maxsize=256)
def _first_time_of(head: str) -> datetime:
    return time_of(head.ljust(LENGTH, _ALPHABET[0]))


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


def _moment(at: datetime) -> int:
    """Give the first 40 bits: seconds and milliseconds / 4."""
    since = at - _EPOCH
    seconds = since.days * 86_400 + since.seconds
    if not 0 <= seconds < 1 << 32:
        msg = f"{at} is outside of what an id can say"
        raise ValueError(msg)
    return seconds << 8 | since.microseconds // 4_000


@lru_cache(maxsize=256)
def _head(moment: int) -> str:
    """Give the first characters of the ids of a moment, in the middle of all that say it.

    In the middle, so that whatever stands behind them the id says this moment.
    """
    high = ((moment << 20 | 1 << 19) << 100) // _TAIL_BASE
    return _pairs(high, _HEAD_CHARACTERS // 2)


def _pairs(value: int, pairs: int) -> str:
    """Write a number in base 62, two characters at a time."""
    text = ""
    for _ in range(pairs):
        value, rest = divmod(value, _PAIR_BASE)
        text = _PAIRS[rest] + text
    return text
