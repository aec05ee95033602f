"""What acceptance tests are lent: whole installations, a receiver, and what to talk with."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance.world import World, world_of
from tests.installation import Installation, installed
from tests.receiver import Receiver
from tests.services import Services, running_services

SCHEDULE_S = (0.3, 0.6)
TIMEOUT_S = 1.5
MAX_PAYLOAD_BYTES = 65_536

_SETTINGS = {
    "HOOKLINE_RETRY_SCHEDULE": ",".join(map(str, SCHEDULE_S)),
    "HOOKLINE_REQUEST_TIMEOUT": str(TIMEOUT_S),
    "HOOKLINE_MAX_PAYLOAD_BYTES": str(MAX_PAYLOAD_BYTES),
    "HOOKLINE_ATTEMPT_LOG_S": "0.2",
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sound(services: Services) -> AsyncIterator[Installation]:
    """Lend an installation of two gateways and two dispatchers, to be left as it is."""
    async with installed(services, gateways=2, dispatchers=2, **_SETTINGS) as here:
        yield here


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def breakable_anywhere() -> AsyncIterator[Installation]:
    """Run an installation on servers of its own, so that those may be killed, too."""
    async with (
        running_services() as own,
        installed(
            own, gateways=2, dispatchers=2, HOOKLINE_SVIX_HEADERS="true", **_SETTINGS
        ) as here,
    ):
        yield here


@pytest_asyncio.fixture
async def breakable(breakable_anywhere: Installation) -> AsyncIterator[Installation]:
    """Lend an installation whose parts may be stopped and killed; what does not run is started."""
    for name, server in breakable_anywhere.servers.items():
        if not server.runs:
            await breakable_anywhere.start(name)
    yield breakable_anywhere


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as listening:
        yield listening


@pytest_asyncio.fixture
async def world(sound: Installation, receiver: Receiver) -> AsyncIterator[World]:
    async with world_of(sound, receiver) as opened:
        yield opened


@pytest_asyncio.fixture
async def breakable_world(breakable: Installation, receiver: Receiver) -> AsyncIterator[World]:
    async with world_of(breakable, receiver) as opened:
        yield opened


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the acceptance tests last: what they run would be in the way of the others."""
    ours = Path(__file__).parent
    paths = {item.path for item in items}
    last = {path for path in paths if path.is_relative_to(ours)}
    items.sort(key=lambda item: item.path in last)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show what the processes printed beside a failure."""
    report = yield
    if report.failed and call.when == "call":
        lent = {id(one): one for one in item.funcargs.values() if isinstance(one, Installation)}
        for one in lent.values():
            report.sections.append(("what the processes printed", one.printed()))
    return report
