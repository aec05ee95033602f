"""How calls and answers go over the pipe between a transformer and whoever owns it. Pure.

A frame is two sizes, an object in JSON, and bytes as they are. A batch is a number and so many
frames; the answers come one by one, in order, each as soon as there is one.
"""

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

SIZES: Final = struct.Struct("!II")
COUNT: Final = struct.Struct("!I")
MOST_ABOUT_BYTES: Final = 1_048_576  # of the object of an answer

READY: Final = "ready"  # the first frame: whether system calls are fenced in
UNBEGUN: Final = "unbegun"  # a call that was not looked at, as one before it took long
BROKEN: Final = "broken"


def frame(about: Mapping[str, object], body: bytes = b"") -> bytes:
    """Write a frame."""
    head = json.dumps(about, separators=(",", ":")).encode()
    return SIZES.pack(len(head), len(body)) + head + body


def read_frame(read: Callable[[int], bytes]) -> tuple[dict[str, Any], bytes]:
    """Read a frame with what gives exactly so many bytes."""
    head, body = SIZES.unpack(read(SIZES.size))
    about: dict[str, Any] = json.loads(read(head))
    return about, read(body)
