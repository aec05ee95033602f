import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy import supervisor as module
from deploy.faults import StartFault
from deploy.supervisor import Part, Supervisor

LONGEST_S = 20.0


@dataclass
class Screen:
    """What was shown, and a way to wait for it."""

    lines: list[str] = field(default_factory=list)

    def show(self, line: str) -> None:
        self.lines.append(line)

    async def until(self, text: str, *, times: int = 1) -> None:
        async with asyncio.timeout(LONGEST_S):
            while sum(text in line for line in self.lines) < times:
                await asyncio.sleep(0.01)


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.2)


def python(
    name: str,
    code: str,
    *,
    ready: Callable[[], Awaitable[bool]] | None = None,
    log: Path | None = None,
    stop_s: float = LONGEST_S,
) -> Part:
    extra = {"ready": ready} if ready else {}
    return Part(
        name=name,
        argv=(sys.executable, "-u", "-c", textwrap.dedent(code)),
        environ=dict(os.environ),
        log=log,
        stop_s=stop_s,
        **extra,
    )


async def never() -> bool:
    return False


async def run_until_ready(screen: Screen, *parts: Part) -> None:
    async with Supervisor(show=screen.show) as supervisor:
        for part in parts:
            await supervisor.start(part)
        await supervisor.until_ready()


WAITS = "import os, signal; print('pid', os.getpid()); signal.pause()"


def pids(screen: Screen, name: str) -> list[int]:
    return [int(line.split()[-1]) for line in screen.lines if line.startswith(f"[{name}] pid")]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


async def test_the_lines_of_a_part_are_shown_with_its_name(screen: Screen) -> None:
    async with Supervisor(show=screen.show) as supervisor:
        await supervisor.start(python("a", "print('one'); print('two', end='')"))
        await screen.until("two")

    assert screen.lines == ["[a] one", "[a] two"]


async def test_an_endless_line_is_shown_in_pieces(screen: Screen) -> None:
    async with Supervisor(show=screen.show) as supervisor:
        await supervisor.start(python("a", "print('x' * 300_000); print('done')"))
        await screen.until("[a] done")

    assert sum(line.count("x") for line in screen.lines) == 300_000
    assert max(map(len, screen.lines)) < 200_000


async def test_a_part_that_dies_is_started_again_and_a_line_says_so(screen: Screen) -> None:
    async with Supervisor(show=screen.show) as supervisor:
        await supervisor.start(python("a", WAITS), python("b", WAITS))
        await supervisor.until_ready()
        await screen.until("[a] pid")
        await screen.until("[b] pid")
        os.kill(pids(screen, "a")[0], signal.SIGKILL)
        await screen.until("[a] pid", times=2)
        b_lived = not is_gone(pids(screen, "b")[0])

    assert "a was killed by SIGKILL; starting it again in 0.05 s" in screen.lines
    assert b_lived
    assert len(pids(screen, "b")) == 1
    assert all(is_gone(pid) for pid in pids(screen, "a") + pids(screen, "b"))


async def test_the_pause_grows_while_a_part_keeps_dying(screen: Screen) -> None:
    async with Supervisor(show=screen.show) as supervisor:
        await supervisor.start(python("a", "raise SystemExit(3)"))
        await supervisor.until_ready()
        await screen.until("starting it again", times=4)

    told = [line for line in screen.lines if "starting it again" in line]
    assert [line.rpartition(" in ")[2] for line in told[:4]] == [
        "0.05 s",
        "0.1 s",
        "0.2 s",
        "0.2 s",
    ]
    assert told[0].startswith("a ended (exit 3);")


async def test_the_pause_is_short_again_after_a_calm_time(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALM_S", 0.0)

    async with Supervisor(show=screen.show) as supervisor:
        await supervisor.start(python("a", "raise SystemExit(3)"))
        await supervisor.until_ready()
        await screen.until("starting it again in 0.05 s", times=3)


async def test_a_part_in_whose_place_another_one_answers_has_ended_all_the_same(
    screen: Screen,
) -> None:
    """As of gateways that share a port: whoever is asked, one of those that live answers."""
    ended = asyncio.Event()

    async with Supervisor(show=screen.show, ended=lambda _: ended.set()) as supervisor:
        await supervisor.start(python("a", "raise SystemExit(4)"))
        async with asyncio.timeout(LONGEST_S):
            await ended.wait()
        with pytest.raises(StartFault, match=r"^a ended \(exit 4\) at its start$"):
            await supervisor.until_ready()


async def test_a_part_that_ends_before_it_is_ready_stops_the_start(screen: Screen) -> None:
    parts = (python("a", WAITS), python("b", "raise SystemExit(4)", ready=never))

    with pytest.raises(StartFault, match=r"^b ended \(exit 4\) at its start$"):
        await run_until_ready(screen, *parts)

    assert not any("starting it again" in line for line in screen.lines)
    assert all(is_gone(pid) for pid in pids(screen, "a"))


async def test_a_part_that_never_gets_ready_is_given_up(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READY_S", 0.2)

    with pytest.raises(StartFault, match=r"a did not answer within 0\.2 s"):
        await run_until_ready(screen, python("a", WAITS, ready=never))


async def test_a_failure_is_told_with_the_last_word_of_the_log(
    screen: Screen, tmp_path: Path
) -> None:
    code = "print('LOG: hello'); print('FATAL: no space left'); raise SystemExit(1)"

    with pytest.raises(StartFault, match="FATAL: no space left"):
        await run_until_ready(screen, python("a", code, ready=never, log=tmp_path / "a.log"))


async def test_a_program_that_does_not_exist_is_one_line(screen: Screen) -> None:
    part = Part(name="a", argv=("/nowhere/at/all",), environ={})

    with pytest.raises(StartFault, match="cannot run /nowhere/at/all"):
        await run_until_ready(screen, part)


async def test_parts_are_stopped_in_the_reverse_order_of_their_stages(screen: Screen) -> None:
    code = """
        import signal, sys, time
        def end(*_):
            time.sleep(0.2)
            print("bye")
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        print("up")
        while True:
            signal.pause()
    """
    async with Supervisor(show=screen.show) as supervisor:
        for name in ("first", "second", "third"):
            await supervisor.start(python(name, code))
        await supervisor.until_ready()
        for name in ("first", "second", "third"):
            await screen.until(f"[{name}] up")

    goodbyes = [line for line in screen.lines if "bye" in line]
    assert goodbyes == ["[third] bye", "[second] bye", "[first] bye"]


async def test_a_part_that_does_not_stop_is_killed_with_all_that_it_started(
    screen: Screen,
) -> None:
    code = """
        import os, signal, subprocess, sys
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        print("pid", os.getpid())
        print("pid", child.pid)
        while True:
            signal.pause()
    """
    async with Supervisor(show=screen.show) as supervisor:
        await supervisor.start(python("a", code, stop_s=0.2))
        await screen.until("pid", times=2)

    assert "a did not stop within 0.2 s; killed" in screen.lines
    wait_until(lambda: all(is_gone(pid) for pid in pids(screen, "a")))


async def test_a_stop_does_not_wait_for_a_pause_to_end(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 600.0)

    async with asyncio.timeout(LONGEST_S):
        async with Supervisor(show=screen.show) as supervisor:
            await supervisor.start(python("a", "pass"))
            await supervisor.until_ready()
            await screen.until("starting it again in 600 s")


async def test_who_kills_everything_waits_for_nothing(screen: Screen) -> None:
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); signal.pause()"
    )
    async with asyncio.timeout(LONGEST_S):
        async with Supervisor(show=screen.show) as supervisor:
            await supervisor.start(python("a", code, stop_s=600), python("b", code, stop_s=600))
            await screen.until("up", times=2)
            supervisor.kill()


async def test_the_ids_of_processes_that_ended_are_told(screen: Screen) -> None:
    ended: list[int] = []

    async with Supervisor(show=screen.show, ended=ended.append) as supervisor:
        await supervisor.start(python("a", WAITS))
        await screen.until("[a] pid")

    assert ended == pids(screen, "a")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_parts_end_when_the_supervisor_is_killed_outright(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = f"""
        import asyncio, os, sys
        from deploy.supervisor import Part, Supervisor

        async def main():
            code = "import os; open({str(pid_file)!r}, 'w').write(str(os.getpid()) + '.')"
            code += "; import signal; signal.pause()"
            part = Part(name="a", argv=(sys.executable, "-c", code), environ={{}})
            async with Supervisor(show=print) as supervisor:
                await supervisor.start(part)
                await asyncio.Event().wait()

        asyncio.run(main())
    """
    script = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(script, env={**os.environ, "PYTHONPATH": str(Path.cwd())}) as process:
        wait_until(lambda: pid_file.exists() and pid_file.read_text().endswith("."))
        process.kill()

    child = int(pid_file.read_text().rstrip("."))
    wait_until(lambda: is_gone(child))


def wait_until(holds: Callable[[], bool]) -> None:
    """Look again until it holds; the test's own timeout ends a vain wait."""
    while not holds():
        signal.sigtimedwait([], 0.01)
