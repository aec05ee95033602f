"""Tours by the SDKs that take minutes to build; `scripts/sdk` runs them."""

import asyncio
from collections.abc import Callable

import pytest

from tests.acceptance.tours import goes_to_its_end
from tests.acceptance.world import World
from tests.toolchains import TESTS, run, tool

pytestmark = pytest.mark.timeout(1_200)  # the first run builds

SDK = TESTS / "sdk"
BUILD_S = 1_000


def rust() -> list[str]:
    run(tool("cargo"), "build", "--quiet", cwd=SDK / "rust", within_s=BUILD_S)
    return [str(SDK / "rust" / "target" / "debug" / "tour")]


def java() -> list[str]:
    goals = ("--quiet", "--batch-mode", "compile", "dependency:copy-dependencies")
    run(tool("mvn"), *goals, cwd=SDK / "java", within_s=BUILD_S)
    target = SDK / "java" / "target"
    path = f"{target / 'classes'}:{target / 'dependency'}/*"
    return [tool("java"), "-Dfile.encoding=UTF-8", "-cp", path, "Tour"]


@pytest.mark.parametrize("tour", [rust, java], ids=lambda tour: tour.__name__)
async def test_a_tour_by_an_sdk_goes_to_its_end(
    tour: Callable[[], list[str]], world: World
) -> None:
    command = await asyncio.to_thread(tour)

    await goes_to_its_end(command, world)
