"""`hookline up` as a newcomer meets it: a process, its lines, its files, its exit code."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.home import Home, hold, read_env
from deploy.keys import keep_vault_keys
from deploy.ports import first_free
from deploy.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 50.0
CURL = '. "$1/env"; curl -sS -H "Authorization: Bearer $(cat "$1/operator.key")"'
ENVIRON = {
    **{name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")},
    "PYTHONPATH": str(ROOT),
    "PYTHONDONTWRITEBYTECODE": "",  # each process would compile everything anew
}


@dataclass
class Up:
    """A run of `hookline up` and what it has printed."""

    home: Home
    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))

    async def until(self, text: str) -> None:
        async with asyncio.timeout(LONGEST_S):
            while not any(text in line for line in self.lines):
                assert self.process.returncode is None, "\n".join(self.lines)
                await asyncio.sleep(0.02)

    def processes(self) -> dict[int, str]:
        """Give what runs for this home, by process id."""
        return {
            pid: words for pid, words in command_lines().items() if str(self.home.root) in words
        }

    def pid_of(self, word: str) -> int:
        (pid,) = (pid for pid, words in children_of(self.process.pid).items() if word in words)
        return pid


def command_lines() -> dict[int, str]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found[int(path.parent.name)] = path.read_bytes().replace(b"\0", b" ").decode()
    return found


def children_of(parent: int) -> dict[int, str]:
    found = {}
    for pid, words in command_lines().items():
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found[pid] = words
    return found


@pytest.fixture
def home(directory: Path) -> Home:
    return Home.at(directory / "home")


@asynccontextmanager
async def started(home: Home, *arguments: str, **environ: str) -> AsyncIterator[Up]:
    """Run it; leaving stops it, if nothing did before."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.cli", "up", "--home", str(home.root), *arguments),
        env={**ENVIRON, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    up = Up(home=home, process=process)
    async with asyncio.TaskGroup() as group:
        group.create_task(up.read())
        try:
            yield up
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
                await process.wait()


async def refused(home: Home, *arguments: str, **environ: str) -> tuple[int, list[str]]:
    """Run it where it cannot start; gives exit code and lines."""
    async with started(home, *arguments, **environ) as up, asyncio.timeout(LONGEST_S):
        await up.process.wait()
    return up.process.returncode or 0, up.lines


async def shell(script: str, home: Home) -> str:
    process = await asyncio.create_subprocess_exec(
        *("sh", "-euc", script, "sh", str(home.root)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed
    return printed.decode()


async def test_a_newcomer_sends_an_event_and_finds_everything_again_after_a_second_start(
    home: Home,
) -> None:
    async with started(home, "--port", str(first_free(()))) as up:
        await up.until("Ctrl-C stops everything")
        first = next(n for n, line in enumerate(up.lines) if line.startswith("  . "))
        answers = (await shell("\n".join(up.lines[first : first + 5]), home)).splitlines()
        addresses = read_env(home)
    stopped = up.processes()
    # The second one from a shell that sourced the first one's addresses.
    async with started(home, "--port", str(first_free(())), **addresses) as again:
        await again.until("Ctrl-C stops everything")
        parts = children_of(again.process.pid).values()
        found = await shell(f'{CURL} "$HOOKLINE_URL/api/v1/app/acme"', home)

    app, endpoint, message = (json.loads(answer) for answer in answers)
    assert (app["uid"], endpoint["uid"]) == ("acme", "first")
    assert message["eventType"] == "invoice.paid"
    assert json.loads(found)["id"] == app["id"]
    assert up.process.returncode == 0
    assert up.lines[-1] == "hookline: stopped"
    assert stopped == {}
    assert addresses.keys() == {"HOOKLINE_URL", "NATS_URL", "DATABASE_URL"}
    assert all(any(word in words for words in parts) for word in ("bin/postgres", "nats-server"))
    for path in (home.env, home.operator_key, home.vault_keys, home.run / "nats.json"):
        assert path.stat().st_mode & 0o777 == 0o600, path


async def test_a_part_that_is_killed_comes_back_and_the_others_live_through_it(home: Home) -> None:
    killed = {"postgres": "bin/postgres", "nats": "nats-server", "gateway-1": "gateway-1"}
    spared = ("gateway-2", "dispatcher-1")
    async with started(home, "--port", "0", "--gateways", "2") as up:
        await up.until("Ctrl-C stops everything")
        before = [up.pid_of(word) for word in spared]
        for word in killed.values():
            os.kill(up.pid_of(word), signal.SIGKILL)
        for name in killed:
            await up.until(f"{name} was killed by SIGKILL; starting it again in 1 s")
        await until(lambda: len(children_of(up.process.pid)) == 5)
        await until_it_answers(home)
        after = [up.pid_of(word) for word in spared]

    assert after == before


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONGEST_S):
        while not holds():
            await asyncio.sleep(0.05)


async def until_it_answers(home: Home) -> None:
    async with asyncio.timeout(LONGEST_S):
        while True:
            with suppress(AssertionError):
                await shell(f'{CURL} -f "$HOOKLINE_URL/api/v1/app"', home)
                return
            await asyncio.sleep(0.1)


async def test_a_killed_installation_leaves_nothing_behind_and_starts_again(home: Home) -> None:
    async with started(home, "--port", "0") as up:
        await up.until("Ctrl-C stops everything")
        up.process.kill()
        await up.process.wait()

    async with started(home, "--port", "0") as again:
        await again.until("Ctrl-C stops everything")
        count = len(children_of(again.process.pid))

    assert count == 4, again.lines
    assert again.processes() == {}


async def test_a_second_start_on_the_same_home_is_one_line(home: Home) -> None:
    with hold(home):
        code, lines = await refused(home)

    assert code == 1
    assert lines == [f"hookline: another `hookline up` is running on {home.root}"]


async def test_a_port_in_use_is_one_line_and_nothing_is_started(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, lines = await refused(home, "--port", str(port))

    assert code == 1
    assert len(lines) == 1
    assert f"port {port}" in lines[0]
    assert "Address already in use" in lines[0]
    assert not home.postgres.exists()
    keep_vault_keys(Settings(), home)  # what a later start does first; it finds nothing amiss


async def test_faulty_settings_are_told_all_at_once(home: Home) -> None:
    code, lines = await refused(home, "--port", "x", HOOKLINE_RETRY_SHEDULE="1", NATS_URL="x")

    assert code == 2
    assert len(lines) == 3
    assert not home.root.exists()


async def test_data_of_another_version_is_one_line(home: Home) -> None:
    with hold(home):
        home.version.write_text("0\n")

    code, lines = await refused(home, "--port", "0")

    assert code == 1
    assert len(lines) == 1
    assert "has layout 0" in lines[0]


async def test_a_server_that_does_not_answer_is_one_line(home: Home) -> None:
    code, lines = await refused(
        home,
        *("--port", "0"),
        DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/x",
        HOOKLINE_CONNECT_TIMEOUT_S="1",
    )

    said = [line for line in lines if line.startswith("hookline: ")]
    assert code == 1
    assert len(said) == 1
    assert re.match("hookline: Postgres at postgresql://127.0.0.1:1/x does not answer", said[0])
    assert "hunter2" not in "".join(lines)


async def test_lost_vault_keys_are_never_replaced_in_silence(home: Home) -> None:
    with hold(home):
        (home.root / "postgres").mkdir()

    code, lines = await refused(home, "--port", "0")

    assert code == 1
    assert len(lines) == 1
    assert f"{home.vault_keys} is missing" in lines[0]
