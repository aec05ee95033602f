"""Svix's SDKs, as they are published, do with Hookline what they do with Svix.

Each tour is a program in its language: it makes an app, an endpoint and messages, looks at what
became of them, sends again, rotates the secret, recovers, and verifies what the endpoint got with
the SDK's own verifier. What it got is handed to it on stdin, as a receiver's framework would.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.world import World
from tests.receiver import Received
from tests.toolchains import NPM_DIR, TESTS, go_program, node_modules, python_of, tool

pytestmark = pytest.mark.timeout(300)  # the first run installs

SDK = TESTS / "sdk"
TOUR_S = 60
Tour = Callable[[Path], list[str]]


def python(_: Path) -> list[str]:
    return [sys.executable, str(SDK / "tour.py")]


def python_v1(_: Path) -> list[str]:
    return [str(python_of(SDK / "python-v1")), str(SDK / "tour.py")]


def javascript(_: Path) -> list[str]:
    node_modules()
    return [tool("node"), str(NPM_DIR / "tour.mjs")]


def go(folder: Path) -> list[str]:
    return [str(go_program(SDK / "go", folder / "tour"))]


@pytest.mark.parametrize(
    "tour", [python, python_v1, javascript, go], ids=lambda tour: tour.__name__
)
async def test_a_tour_by_an_sdk_goes_to_its_end(tour: Tour, world: World, tmp_path: Path) -> None:
    command = await asyncio.to_thread(tour, tmp_path)
    own = await world.elsewhere()
    environ = {
        **os.environ,
        "URL": world.here.url,
        "KEY": own.key,
        "TARGET": world.receiver.url("/tour"),
    }

    process = await asyncio.create_subprocess_exec(
        *command,
        env=environ,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TOUR_S):
            said = await hand_over(process, world)
            _, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()

    assert (process.returncode, said) == (0, "done"), complaint.decode()[-3_000:]


async def hand_over(process: asyncio.subprocess.Process, world: World) -> str:
    """Hand what is delivered of each message to the tour that waits for it; give its last word."""
    assert process.stdin is not None
    assert process.stdout is not None
    said = ""
    waited: list[str] = []
    while line := (await process.stdout.readline()).decode().strip():
        said = line
        if line.startswith("msg_"):
            waited.append(line)
            got = await delivered(world, line, waited.count(line))
            told = {"headers": dict(got.headers), "body": got.body.decode()}
            process.stdin.write(json.dumps(told).encode() + b"\n")
            await process.stdin.drain()
    return said


async def delivered(world: World, message_id: str, number: int) -> Received:
    """Wait for a message, to come for the first or another time."""
    n = 1
    while True:
        requests = await world.receiver.wait_for(n, path="/tour")
        of_it = [got for got in requests if got.header("webhook-id") == message_id]
        if len(of_it) >= number:
            return of_it[number - 1]
        n = len(requests) + 1
