import asyncio
import signal
import sys
from pathlib import Path

import pytest

from deploy import parts
from deploy.settings import Settings
from deploy.supervisor import Part
from tests.services import Server

STORY_S = 50.0


async def told(server: Server, *words: str) -> bool:
    """Wait until every one of these was printed."""
    try:
        async with asyncio.timeout(STORY_S):
            while not all(word in server.printed() for word in words):
                assert server.runs
                await asyncio.sleep(0.1)
    except TimeoutError:
        return False
    return True


@pytest.mark.timeout(120)
async def test_the_demo_tells_of_retries_a_dead_letter_and_its_redelivery(directory: Path) -> None:
    settings = Settings(home=directory / "home", port=0, demo=True)
    up = Part(
        name="up",
        argv=(sys.executable, "-m", "deploy.cli", "up"),
        environ=parts.child_environ(settings, {}),
        stop_signal=signal.SIGINT,
    )
    server = Server(up, log=directory / "printed")

    await server.start()
    try:
        whole = await told(
            server,
            "reached healthy in",
            "reached slow in",
            "retry 2 of 3 to flaky: accepted",
            "retry 2 of 2 to broken: refused (500)",
            "invoice.paid for broken is parked",
            "invoice.paid was redelivered to broken",
        )
    finally:
        await server.stop()

    assert whole, server.printed()
    assert "\x1b" not in server.printed()
    assert "hookline: stopped" in server.printed()
    assert "Traceback" not in server.printed()
