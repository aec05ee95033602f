"""Runs a tour of Hookline, a program by an SDK, to its end, and hands it what is delivered."""

import asyncio
import json
import os
from collections.abc import Sequence

from tests.acceptance.world import World
from tests.receiver import Received

PATH = "/tour"
TOUR_S = 60


async def goes_to_its_end(command: Sequence[str], world: World) -> None:
    """Run a tour in an environment of its own.

    It prints the id of each message that it waits for, and is given on stdin what the endpoint
    got, as a receiver's framework would; its last word is `done`.
    """
    own = await world.elsewhere()
    target = world.receiver.url(PATH)
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "URL": world.here.url, "KEY": own.key, "TARGET": target},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TOUR_S):
            said = await _hand_over(process, world)
            _, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, said) == (0, "done"), complaint.decode()[-3_000:]


async def _hand_over(process: asyncio.subprocess.Process, world: World) -> str:
    """Hand over what is delivered of each message that is waited for; give the last word."""
    assert process.stdin is not None
    assert process.stdout is not None
    said = ""
    waited: list[str] = []
    while line := (await process.stdout.readline()).decode().strip():
        said = line
        if line.startswith("msg_"):
            waited.append(line)
            got = await _delivered(world, line, waited.count(line))
            told = {"headers": dict(got.headers), "body": got.body.decode()}
            process.stdin.write(json.dumps(told).encode() + b"\n")
            await process.stdin.drain()
    return said


async def _delivered(world: World, message_id: str, number: int) -> Received:
    """Wait for a message, to come for the first or another time."""
    n = 1
    while True:
        requests = await world.receiver.wait_for(n, path=PATH)
        of_it = [got for got in requests if got.header("webhook-id") == message_id]
        if len(of_it) >= number:
            return of_it[number - 1]
        n = len(requests) + 1
