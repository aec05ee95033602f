"""Waits for tests: messages for one endpoint, whose one attempt somebody wants to see at once.

The gateway makes no attempt. It hears from the dispatcher over NATS that one was settled; the word
may be lost, so the rows are looked at now and then, too. How many may wait is bounded, by process
and by app.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from gateway.config import GatewayConfig
from gateway.limits import OverLimit
from schema.event import SETTLED_ROOT

LOOK_S: Final = 2.0  # how often rows are looked at, should a word be lost
_AGAIN_S: Final = 1.0
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class TooManyTests(OverLimit):
    """As many tests wait as may."""

    code = "too_many_tests"


class Awaited:
    """The tests that one gateway process waits for."""

    def __init__(self, bus: Client, config: GatewayConfig) -> None:
        """Wait for nothing, and hear nothing until somebody does."""
        self._bus = bus
        self._config = config
        self._apps = Counter[str]()
        self._words: dict[str, set[asyncio.Event]] = {}
        self._subscription: Subscription | None = None
        self._subscribing = asyncio.Lock()

    @asynccontextmanager
    async def place(self, app_id: str) -> AsyncIterator[None]:
        """Take one of the places to wait, and hear of what is settled from now on.

        Raises:
            TooManyTests: There is none.
        """
        self._check(app_id)
        self._apps[app_id] += 1
        try:
            await self._listen()
            yield
        finally:
            self._apps[app_id] -= 1
            if not self._apps[app_id]:
                del self._apps[app_id]

    async def seen(self, message_id: str, look: Callable[[], Awaitable[_T | None]]) -> _T | None:
        """Give what a look at the rows brings, once it brings something; None: not for too long."""
        with self._word(message_id) as word, suppress(TimeoutError):
            async with asyncio.timeout(self._config.test_wait_s):
                while True:
                    found = await look()
                    if found is not None:
                        return found
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_S):
                            await word.wait()
                    word.clear()
        return None

    def _check(self, app_id: str) -> None:
        most, of_app = self._config.tests, self._config.app_tests
        if self._apps[app_id] >= of_app:
            raise TooManyTests(
                f"{of_app} tests of this application wait for their endpoints, which is the most "
                "(HOOKLINE_APP_TESTS): wait for one to end.",
                _AGAIN_S,
                {},
            )
        if self._apps.total() >= most:
            raise TooManyTests(
                f"{most} tests wait for their endpoints, which is the most (HOOKLINE_TESTS).",
                _AGAIN_S,
                {},
            )

    @contextmanager
    def _word(self, message_id: str) -> Iterator[asyncio.Event]:
        """Lend what is set when a message was settled."""
        word = asyncio.Event()
        words = self._words.setdefault(message_id, set())
        words.add(word)
        try:
            yield word
        finally:
            words.discard(word)
            if not words:
                del self._words[message_id]

    async def _listen(self) -> None:
        async with self._subscribing:
            if self._subscription is not None:
                return
            try:
                self._subscription = await self._bus.subscribe(f"{SETTLED_ROOT}.*", cb=self._heard)
                await self._bus.flush()  # the server knows before anything is published
            except (nats.errors.Error, OSError) as error:
                _log.info("no word of tests will be heard: %s", error)

    async def _heard(self, msg: Msg) -> None:
        for word in self._words.get(msg.subject.rpartition(".")[2], ()):
            word.set()
