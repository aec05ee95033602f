"""Idempotency keys: which request is meant, whoever repeats it, and the message ids that follow.

A key counts for whoever authorises with the same key, at the same path and query. The official
clients send one with every POST (`auto_` and a new UUID), and the same when they try again.
"""

import hashlib
from datetime import timedelta
from typing import Final, NamedTuple

from starlette.requests import Request

from gateway.auth import Caller
from schema.ids import CHANCE_BYTES

KEPT: Final = timedelta(hours=12)
_HEADER: Final = b"idempotency-key"
_RETRY: Final = b"svix-retry-count"
_AUTOMATIC: Final = b"auto_"


class Key(NamedTuple):
    """What a request and its repeats have in common.

    Attributes:
        digest: Of who calls, where, and the key: 32 bytes.
        is_fresh: It was made by a client for this request, and nothing says that it is sent again.
    """

    digest: bytes
    is_fresh: bool

    @property
    def chance(self) -> bytes:
        """Give what stands for chance in the id of the message that is published."""
        return self.digest[:CHANCE_BYTES]

    def chance_of(self, place: int) -> bytes:
        """Give the same for one of many messages of a request."""
        return hashlib.sha256(b"%b%d" % (self.digest, place)).digest()[:CHANCE_BYTES]


def read_key(request: Request, caller: Caller) -> Key | None:
    """Read a request's key; None if it has none."""
    text, again = b"", False
    # By hand: this runs for every message that is published.
    for name, value in request.scope["headers"]:
        if name == _HEADER:
            text = value
        elif name == _RETRY:
            again = value != b"0"
    if not text:
        return None
    who = f"{caller.environment_id}\n{caller.key_id}\n{request.scope['path'].rstrip('/')}\n"
    where = request.scope["query_string"]
    digest = hashlib.sha256(b"%b%b\n%b" % (who.encode(), where, text)).digest()
    return Key(digest, text.startswith(_AUTOMATIC) and not again)
