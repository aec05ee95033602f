"""What of the stream is not rows yet: the events behind each shard's position.

The stream is asked for the first such event of each shard and how many follow it; that a stretch
holds none is remembered, so that a quiet shard, whose position stays far behind, costs no search.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from gateway.parts import Parts
from schema import stream
from schema.event import shard_filters

_ANSWER_S: Final = 2.0
_AT_ONCE: Final = 8  # questions to the stream


async def stream_state(given: Parts) -> Mapping[str, Any]:
    """Ask for what the stream holds, in the words of JetStream."""
    subject = stream.info_subject(given.config.stream)
    answer = await given.bus.request(subject, b"", timeout=_ANSWER_S)
    state: Mapping[str, Any] = orjson.loads(answer.data)["state"]
    return state


class Lag:
    """Looks behind the positions of the shards."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._empty_to: dict[str, int] = {}

    async def read(
        self, given: Parts, positions: Mapping[int, int], last: int
    ) -> tuple[int, datetime | None]:
        """Give how many events are not rows, and when the oldest of them came; None: there is none.

        Args:
            given: NATS.
            positions: By shard.
            last: The last sequence of the stream.
        """
        if last < max(self._empty_to.values(), default=0):  # the stream was made anew
            self._empty_to.clear()
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(wanted: str, position: int) -> tuple[int, datetime | None]:
            # A position behind the end counts in a stream that is no more.
            start = max(position if position <= last else 0, self._empty_to.get(wanted, 0))
            if start == last:
                return 0, None
            async with gate:
                found = await _behind(given, wanted, start + 1)
            if found is None:
                self._empty_to[wanted] = last
                return 0, None
            return found

        answers = await asyncio.gather(
            *(
                one(wanted, position)
                for number, position in positions.items()
                for wanted in shard_filters(number)
            )
        )
        ages = [at for _, at in answers if at is not None]
        return sum(number for number, _ in answers), min(ages, default=None)


async def _behind(given: Parts, wanted: str, start: int) -> tuple[int, datetime] | None:
    """Say how many events there are from a sequence on, and when the first came; None if none."""
    subject = stream.count_subject(given.config.stream)
    asked = stream.count_request(wanted, start)
    return stream.read_count((await given.bus.request(subject, asked, timeout=_ANSWER_S)).headers)
