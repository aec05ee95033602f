"""Svix's SDKs, as they are published, do with Hookline what they do with Svix.

Each tour is a program in its language: it makes an app, an endpoint and messages, looks at what
became of them, sends again, rotates the secret, recovers, and verifies what the endpoint got with
the SDK's own verifier. Those that take minutes to build stand in `more_sdk_tours.py`.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.tours import goes_to_its_end
from tests.acceptance.world import World
from tests.toolchains import NPM_DIR, TESTS, go_program, node_modules, python_of, tool

pytestmark = pytest.mark.timeout(300)  # the first run installs

SDK = TESTS / "sdk"
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

    await goes_to_its_end(command, world)
