"""The demo's endpoints: what customers' receivers do, well and badly, on loopback.

They verify every signature, as a receiver must, and say of each request what came of it to whoever
listens. Durations are seconds.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from signer.secret import SigningSecret
from signer.standard import ID_HEADER, Check, verify

HEALTHY: Final = "healthy"
SLOW: Final = "slow"
FLAKY: Final = "flaky"
BROKEN: Final = "broken"
SLOW_S: Final = 2.0
FLAKY_REFUSALS: Final = 2  # of each message, before it is accepted
_KNOWN_MOST: Final = 10_000  # messages of which it is known how often they came


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request, and how it was answered."""

    endpoint: str
    message_id: str
    event_type: str
    time: int  # 1 when the message came to this endpoint for the first time
    status: int
    check: Check
    age_s: float  # from publishing to arriving

    @property
    def accepted(self) -> bool:
        """Tell whether the answer was a success."""
        return self.status == _ACCEPTED


_ACCEPTED: Final = 204
_UNSIGNED: Final = 401
_BROKEN: Final = 500
_BUSY: Final = 503


class Receivers:
    """All four, by name. `broken` may be repaired."""

    def __init__(
        self, *, clock: Callable[[], datetime], on_arrival: Callable[[Arrival], None]
    ) -> None:
        """Accept nothing until `secrets` are known.

        Args:
            clock: Aware UTC.
            on_arrival: Is told of each request once it is decided how to answer.
        """
        self.secrets: dict[str, SigningSecret] = {}
        self.is_repaired = False
        self._clock = clock
        self._on_arrival = on_arrival
        self._times: OrderedDict[tuple[str, str], int] = OrderedDict()

    def app(self) -> Starlette:
        """Give what a server serves."""
        return Starlette(routes=[Route("/{endpoint}", self._receive, methods=["POST"])])

    async def _receive(self, request: Request) -> Response:
        endpoint: str = request.path_params["endpoint"]
        arrived_at = self._clock()
        body = await request.body()
        secret = self.secrets.get(endpoint)
        if secret is None:
            return Response(status_code=404)
        check = verify([secret], request.headers, body, now=arrived_at.timestamp())
        message_id = request.headers.get(ID_HEADER, "")
        time = self._count(endpoint, message_id)
        if endpoint == SLOW:
            await asyncio.sleep(SLOW_S)
        event_type, age_s = _read(body, arrived_at) if check is Check.VERIFIED else ("", 0.0)
        arrival = Arrival(
            endpoint=endpoint,
            message_id=message_id,
            event_type=event_type,
            time=time,
            status=self._status(endpoint, time) if check is Check.VERIFIED else _UNSIGNED,
            check=check,
            age_s=age_s,
        )
        self._on_arrival(arrival)
        return Response(status_code=arrival.status)

    def _status(self, endpoint: str, time: int) -> int:
        if endpoint == FLAKY and time <= FLAKY_REFUSALS:
            return _BUSY
        if endpoint == BROKEN and not self.is_repaired:
            return _BROKEN
        return _ACCEPTED

    def _count(self, endpoint: str, message_id: str) -> int:
        """Count how often a message came here; the oldest ones are forgotten."""
        key = (endpoint, message_id)
        time = self._times[key] = self._times.pop(key, 0) + 1
        if len(self._times) > _KNOWN_MOST:
            self._times.popitem(last=False)
        return time


def sample(event_type: str, number: int, at: datetime) -> Mapping[str, Any]:
    """Make a payload in the form that Standard Webhooks recommends."""
    return {"type": event_type, "timestamp": at.isoformat(), "data": {"number": number}}


def _read(body: bytes, arrived_at: datetime) -> tuple[str, float]:
    """Read a payload's type, and how long ago it was published; others' may be anything."""
    try:
        payload = json.loads(body)
        published_at = datetime.fromisoformat(payload["timestamp"])
        return str(payload["type"]), (arrived_at - published_at).total_seconds()
    except (ValueError, KeyError, TypeError):
        return "an event", 0.0
