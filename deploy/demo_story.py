"""What the demo tells: one line at a time, slowly enough to be read. Durations are seconds."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from enum import Enum
from typing import Final

from deploy.demo_receiver import HEALTHY, SLOW, SLOW_S, Arrival
from signer.standard import Check

PAUSE_S: Final = 1.0  # between two lines
_WAITING_MOST: Final = 8  # lines; beyond, only what matters is told
_ROUTINE_EVERY_S: Final = 12.0


class Mood(Enum):
    """How a line is meant. The values are ANSI colours."""

    PLAIN = ""
    GOOD = "\x1b[32m"
    TROUBLE = "\x1b[33m"
    BAD = "\x1b[31m"
    NEWS = "\x1b[1m"


class Teller:
    """Prints lines with the time of day, one a second at most."""

    def __init__(self, *, clock: Callable[[], datetime], colour: bool) -> None:
        """Tell nothing until `run`."""
        self._clock = clock
        self._colour = colour
        self._lines: deque[str] = deque()
        self._some = asyncio.Event()

    def tell(self, text: str, mood: Mood = Mood.PLAIN) -> None:
        """Have a line printed when it is its turn; when many wait, only news gets in."""
        if len(self._lines) >= _WAITING_MOST and mood is not Mood.NEWS:
            return
        if self._colour and mood.value:
            text = f"{mood.value}{text}\x1b[0m"
        self._lines.append(f"{self._clock().astimezone():%H:%M:%S}  {text}")
        self._some.set()

    async def run(self) -> None:
        """Print, for ever."""
        while True:
            await self._some.wait()
            with suppress(BrokenPipeError):  # nobody reads any more
                print(self._lines.popleft(), flush=True)
            if not self._lines:
                self._some.clear()
            await asyncio.sleep(PAUSE_S)


class Story:
    """Turns arrivals into lines, and counts."""

    def __init__(self, teller: Teller, *, waits_s: Mapping[str, tuple[float, ...]]) -> None:
        """Take the waits before each endpoint's retries, as they were registered."""
        self._teller = teller
        self._waits_s = waits_s
        self._told_at: dict[str, float] = {}
        self.redelivering = ""  # the message whose redelivery is being watched
        self.counts: Counter[str] = Counter()

    def arrived(self, arrival: Arrival) -> None:
        """Tell what came of a request, if it is worth a line."""
        self.counts["accepted" if arrival.accepted else "refused"] += 1
        if arrival.check is not Check.VERIFIED:
            self._tell(f"{arrival.endpoint} refuses a request: {arrival.check.value}", Mood.BAD)
        elif arrival.message_id == self.redelivering:
            self._redelivered(arrival)
        elif arrival.endpoint in {HEALTHY, SLOW} or (arrival.accepted and arrival.time == 1):
            self._routine(arrival)
        elif arrival.time == 1:
            wait_s = self._waits_s[arrival.endpoint][0]
            refused = f"{arrival.endpoint} refuses {arrival.event_type} ({arrival.status})"
            self._tell(f"{refused}; to be tried again in {wait_s:g} s", Mood.TROUBLE)
        else:
            self._retried(arrival)

    def sum_up(self) -> None:
        """Tell the figures so far."""
        counts = self.counts
        self._tell(
            f"so far {counts['published']} events published; {counts['accepted']} deliveries"
            f" accepted, {counts['refused']} attempts refused"
        )

    def _redelivered(self, arrival: Arrival) -> None:
        if not arrival.accepted:
            self._tell(f"{arrival.endpoint} refuses the redelivery too", Mood.BAD)
            return
        self.redelivering = ""
        same = f"with the webhook-id it always had, {arrival.message_id}"
        self._tell(f"{arrival.event_type} was redelivered to {arrival.endpoint}, {same}", Mood.NEWS)

    def _retried(self, arrival: Arrival) -> None:
        most = len(self._waits_s[arrival.endpoint])
        retry = f"retry {arrival.time - 1} of {most} to {arrival.endpoint}"
        if arrival.accepted:
            self._tell(f"{retry}: accepted, {arrival.age_s:.0f} s after the event", Mood.GOOD)
        else:
            mood = Mood.BAD if arrival.time > most else Mood.TROUBLE
            self._tell(f"{retry}: refused ({arrival.status})", mood)

    def _routine(self, arrival: Arrival) -> None:
        """Tell now and then that all is well."""
        now = asyncio.get_running_loop().time()
        if now < self._told_at.get(arrival.endpoint, 0.0) + _ROUTINE_EVERY_S:
            return
        self._told_at[arrival.endpoint] = now
        came = f"{arrival.event_type} reached {arrival.endpoint} in {arrival.age_s * 1000:.0f} ms"
        slowly = f", and was answered {SLOW_S:g} s later; nobody waits behind it"
        self._tell(came + (slowly if arrival.endpoint == SLOW else ""), Mood.GOOD)

    def _tell(self, text: str, mood: Mood = Mood.PLAIN) -> None:
        self._teller.tell(text, mood)
