"""Code of strangers in processes of its own: what it gives back, and what it cannot do."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import pytest_asyncio

from transformer import process
from transformer.call import Answer, Broken, Call, Crowded, Limits, Made, SandboxFault
from transformer.sandbox import Sandbox

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEBHOOK = {
    "method": "POST",
    "url": "https://hooks.example.com/in",
    "headers": {},
    "eventType": "invoice.paid",
    "channels": ["eu"],
    "transformationsParams": {"colour": "red"},
    "variables": {"token": "t0k3n"},
    "cancel": False,
}
PAYLOAD = b'{"amount": 12, "who": "\xc3\x85sa"}'
QUICK = "function handler(w) { return w; }"
ENDLESS = "function handler(w) { for (;;) {} }"


def call(code: str, *, owner: str = "one", payload: bytes | None = PAYLOAD) -> Call:
    return Call(owner=owner, code=code, webhook=json.dumps(WEBHOOK).encode(), payload=payload)


@asynccontextmanager
async def a_sandbox(**limits: Any) -> AsyncIterator[tuple[Sandbox, list[str]]]:
    """Lend a sandbox, and how its calls ended."""
    ended: list[str] = []
    made = Sandbox(Limits(**limits), told=lambda word, _: ended.append(word))
    running = asyncio.create_task(made.run())
    try:
        yield made, ended
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with a_sandbox() as (made, _):
        yield made


async def made(sandbox: Sandbox, code: str, payload: bytes = PAYLOAD) -> Made:
    answer = await sandbox.call(call(code, payload=payload))
    assert isinstance(answer, Made), answer
    return answer


async def broken(sandbox: Sandbox, code: str) -> Broken:
    answer = await sandbox.call(call(code))
    assert isinstance(answer, Broken), answer
    return answer


async def test_a_handler_sees_all_of_a_message_and_gives_back_another_request(
    sandbox: Sandbox,
) -> None:
    answer = await made(
        sandbox,
        """
        const handler = webhook => {
          const { payload, eventType, channels, transformationsParams, variables } = webhook;
          return {
            method: "PUT", url: webhook.url + "?v=2", headers: { "x-token": variables.token },
            payload: { eventType, channels, transformationsParams, ...payload },
          };
        };
        """,
    )

    assert (answer.method, answer.url) == ("PUT", "https://hooks.example.com/in?v=2")
    assert answer.headers == {"x-token": "t0k3n"}
    assert json.loads(answer.payload) == {
        "eventType": "invoice.paid",
        "channels": ["eu"],
        "transformationsParams": {"colour": "red"},
        "amount": 12,
        "who": "Åsa",
    }
    assert not answer.cancel


@pytest.mark.parametrize(
    ("returned", "payload"),
    [
        ("{payload: 'a=1&b=2'}", b"a=1&b=2"),
        ("{payload: 'zero\\0 and \\ud800 half'}", b"zero\0 and ? half"),
        ("{payload: ['x'.repeat(3) + 'y', 1.5]}", b'["xxxy",1.5]'),
        ("{payload: 'a' + w.payload.who}", "aÅsa".encode()),
        ("{payload: null}", b"null"),
    ],
)
async def test_a_text_is_sent_as_it_is_and_all_else_as_json(
    sandbox: Sandbox, returned: str, payload: bytes
) -> None:
    answer = await made(sandbox, f"function handler(w) {{ return {returned}; }}")

    assert answer.payload == payload


async def test_what_is_not_json_is_a_text(sandbox: Sandbox) -> None:
    code = "function handler(w) { return {payload: [typeof w.payload, w.payload]}; }"

    answer = await made(sandbox, code, payload=b"<xml>\0</xml>")

    assert json.loads(answer.payload) == ["string", "<xml>\0</xml>"]


async def test_a_handler_may_call_it_off(sandbox: Sandbox) -> None:
    assert (await made(sandbox, "function handler(w) { return {cancel: true}; }")).cancel
    assert not (await made(sandbox, "function handler(w) { w.cancel = 'no'; return w; }")).cancel


@pytest.mark.parametrize(
    ("code", "text", "line"),
    [
        ("function handler(w) {\n  return w..x;\n}", "SyntaxError: expecting field name", 2),
        (
            "function handler(w) {\n\n  return w.a.b;\n}",
            "TypeError: cannot read property 'b' of undefined",
            3,
        ),
        ("function handler(w) {\n  throw new Error('no\\nway');\n}", "Error: no", 2),
        ("const x = 1; // no more", "the code defines no function `handler`", None),
        ("function handler(w) { return 5; }", "handler returned no object", None),
        ("async function handler(w) { return w; }", "handler must not be async", None),
        ("function handler(w) { return {}; }", "what handler returned has no payload", None),
        (
            "function handler(w) { return {payload: 1, method: 5}; }",
            "the method that handler returned is no text",
            None,
        ),
        (
            "function handler(w) { return {payload: 1, headers: {a: 1}}; }",
            "the headers that handler returned are no object of texts",
            None,
        ),
        (
            "function handler(w) { return fetch('http://x'); }",
            "ReferenceError: fetch is not defined",
            1,
        ),
        (
            "function handler(w) { return require('fs'); }",
            "ReferenceError: require is not defined",
            1,
        ),
        (
            "function handler(w) { return setTimeout(f, 1); }",
            "ReferenceError: setTimeout is not defined",
            1,
        ),
        (
            "function handler(w) { return process.env; }",
            "ReferenceError: process is not defined",
            1,
        ),
    ],
)
async def test_code_that_fails_is_told_how_and_where(
    sandbox: Sandbox, code: str, text: str, line: int | None
) -> None:
    answer = await broken(sandbox, code)

    assert (answer.text, answer.line) == (text, line)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (ENDLESS, "took longer than 100 ms"),
        ("for (;;) {}", "took longer than 100 ms"),
        ("function handler(w) { try { for (;;) {} } catch { for (;;) {} } }", "took longer"),
        ("function handler(w) { return /(a+)+$/.test('a'.repeat(40) + 'b'); }", "took longer"),
        # What the engine does not interrupt ends the process.
        ("function handler(w) { throw {toString() { for (;;) {} }}; }", "took longer"),
        ("const a = []; for (;;) a.push(new Array(1000).fill('x'))", "more memory than 32 MiB"),
        ("function handler(w) { return new ArrayBuffer(2 ** 30); }", "more memory than 32 MiB"),
        ("function handler(w) { return handler(w); }", "Maximum call stack size exceeded"),
        (
            "function handler(w) { for (let i = 9999; i--;) w.payload = [w.payload]; return w; }",
            "Maximum call stack size exceeded",
        ),
        ("function handler(w) { return {payload: 'x'.repeat(2e6)}; }", "larger than 1048576 byte"),
        ("function handler(w) { const o = {}; o.o = o; return {payload: o}; }", "circular"),
        ("Object.prototype.toJSON = () => 7; function handler(w) { return w; }", "cannot be read"),
    ],
)
async def test_code_that_takes_too_much_fails_alone(sandbox: Sandbox, code: str, text: str) -> None:
    bad, good = await asyncio.gather(
        sandbox.call(call(code, owner="bad")), sandbox.call(call(QUICK, owner="good"))
    )

    assert isinstance(bad, Broken)
    assert text in str(bad)
    assert isinstance(good, Made)


async def test_nothing_of_a_call_is_seen_by_the_next(sandbox: Sandbox) -> None:
    spoils = """
        globalThis.left = "behind"; JSON.parse = () => ({}); Object.prototype.hidden = "gift";
        Array.prototype.join = () => "[]"; String.prototype.repeat = () => "";
        function handler(w) { return {payload: w.payload.amount}; }
    """
    looks = """
        function handler(w) {
          return {payload: [typeof left, w.hidden === undefined, JSON.parse("[1]"), [1].join()]};
        }
    """

    assert (await made(sandbox, spoils)).payload == b"12"
    assert json.loads((await made(sandbox, looks)).payload) == ["undefined", True, [1], "1"]


async def test_code_is_only_looked_at_without_a_payload(sandbox: Sandbox) -> None:
    assert await sandbox.call(call(ENDLESS, payload=None)) == Made()
    answer = await sandbox.call(call("function handler( {", payload=None))
    assert isinstance(answer, Broken)
    assert answer.line == 1


async def test_a_transformer_that_is_killed_takes_one_call_with_it() -> None:
    async with a_sandbox(time_s=30.0) as (sandbox, ended):
        at_work = asyncio.ensure_future(sandbox.call(call(ENDLESS, owner="victim")))
        behind = asyncio.ensure_future(sandbox.call(call(QUICK, owner="other")))
        while not sandbox.pids:
            await asyncio.sleep(0.01)
        [pid] = sandbox.pids
        os.kill(pid, signal.SIGKILL)

        assert str(await at_work) == "the process that ran the code died: it was ended by SIGKILL"
        assert isinstance(await behind, Made)
        assert sorted(ended) == ["died", "made"]
        assert pid not in sandbox.pids


async def test_what_the_engine_does_not_interrupt_ends_the_process_by_its_cpu_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_sandbox() as (sandbox, _):
        answer = await sandbox.call(
            call("function handler(w) { throw {toString() { for (;;) {} }}; }")
        )

    assert str(answer) == "the code took longer than 100 ms"
    assert "ended by SIGPROF" in caplog.text


async def test_an_owner_that_takes_all_the_time_delays_others_by_one_call() -> None:
    async with a_sandbox(time_s=0.3) as (sandbox, ended):
        hogs = [asyncio.ensure_future(sandbox.call(call(ENDLESS, owner="hog"))) for _ in range(9)]
        await asyncio.sleep(0)  # they stand before all others
        answers: list[Answer] = []
        for _ in range(4):
            quick = (sandbox.call(call(QUICK, owner=f"app {number}")) for number in range(20))
            answers += await asyncio.gather(*quick)
        ended_then = list(ended)
        for hog in hogs:
            hog.cancel()

    assert len(answers) == 80
    assert all(isinstance(answer, Made) for answer in answers)
    assert ended_then.count("broken") <= 2  # one before them, one beside them


async def test_calls_of_one_owner_do_not_stand_before_those_of_others() -> None:
    async with a_sandbox() as (sandbox, _):
        order: list[str] = []

        async def ask(owner: str) -> None:
            await sandbox.call(call(QUICK, owner=owner))
            order.append(owner)

        await asyncio.gather(*(ask("many") for _ in range(200)), *(ask("few") for _ in range(2)))

    assert order.index("few") < 5
    assert len(order) - order[::-1].index("few") < 10


async def test_no_more_calls_of_an_owner_wait_than_may() -> None:
    async with a_sandbox(waiting=2) as (sandbox, _):
        calls = [sandbox.call(call(QUICK, owner="many")) for _ in range(3)]

        answers = await asyncio.gather(*calls, return_exceptions=True)

        assert [type(answer) for answer in answers] == [Made, Made, Crowded]
        assert isinstance(await sandbox.call(call(QUICK, owner="many")), Made)


def kill_unheard(pid: int) -> None:
    """Kill a process; the loop, which would hear of its end, does nothing until it is no more."""
    os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


async def test_a_transformer_that_ended_without_work_is_started_anew_and_fails_nobody() -> None:
    async with a_sandbox() as (sandbox, ended):
        await sandbox.call(call(QUICK))
        [pid] = sandbox.pids
        kill_unheard(pid)

        assert isinstance(await sandbox.call(call(QUICK)), Made)
        assert ended == ["made", "made"]


async def test_a_machine_without_the_engine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_BOOT", "raise SystemExit(3)")
    async with a_sandbox() as (sandbox, _):
        with pytest.raises(SandboxFault, match="does not start: it ended with 3"):
            await sandbox.call(call(QUICK))


TRIES = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
from transformer.walls import raise_walls
fenced = raise_walls(memory_bytes=1 << 20, result_bytes=1 << 20)
def refused(attempt):
    try:
        attempt()
    except (OSError, MemoryError):
        return "refused"
    return "done"
said = [refused(one) for one in (
    lambda: open("/etc/passwd"), lambda: socket.socket(), os.fork, lambda: os.kill(1, 0),
    lambda: os.listdir("/"), lambda: bytearray(1 << 30), lambda: os.dup(1),
    lambda: os.execv("/bin/true", ["true"]))]
os.write(1, " ".join([str(fenced), *said]).encode())
"""


async def test_a_transformer_can_open_nothing_even_if_code_breaks_out_of_the_engine() -> None:
    trying = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", TRIES, process._ROOT), stdout=PIPE
    )

    said, _ = await trying.communicate()

    assert said.split() == [str(sys.platform == "linux").encode(), *[b"refused"] * 8]
