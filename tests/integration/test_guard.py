import asyncio
import queue
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network

import pytest

from dispatcher.fault import Blocked, DeliveryFault
from dispatcher.guard import APP_THREADS, MAX_ADDRESSES, RESOLVER_THREADS, Guard, SystemResolver
from schema.address import AddressPolicy, EndpointUrl, check_url

PUBLIC = AddressPolicy()
LITERALS = AddressPolicy(allow_ip_literals=True)
LOOPBACK = AddressPolicy(allowed_networks=(ip_network("127.0.0.0/8"),))
URL = check_url("https://hooks.example.com/in", PUBLIC)

APP = "app_1"
A, B = "93.184.216.34", "2606:2800:220:1::1"


class ScriptedDns:
    """A resolver that answers each question with the next of its answers, the last for ever."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.questions: asyncio.Queue[str] = asyncio.Queue()  # to wait for one
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, name: str, _: str) -> Sequence[str]:
        self.asked.append(name)
        self.questions.put_nowait(name)
        await self.may_answer.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_name_is_asked_for_root_anchored_and_all_its_addresses_are_given_in_order() -> None:
    dns = ScriptedDns([B, A, B])

    addresses = await Guard(PUBLIC, dns).addresses(URL, APP)

    assert addresses == (B, A)
    assert dns.asked == ["hooks.example.com."]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (["169.254.169.254"], "link_local"),
        (["10.0.0.1"], "private"),
        (["127.0.0.1"], "loopback"),
        (["::1"], "loopback"),
        (["::ffff:169.254.169.254"], "link_local"),
        (["64:ff9b::a9fe:a9fe"], "tunnel"),
        (["fe80::1%2"], "link_local"),
        (["fd00:ec2::254"], "private"),
        (["168.63.129.16"], "platform"),
        (["0.0.0.0"], "unspecified"),  # noqa: S104
        ([A, "::1"], "loopback"),
        ([B, A, "10.1.2.3"], "private"),
        ([*(f"8.8.{n // 256}.{n % 256}" for n in range(1000)), "10.0.0.1"], "private"),
    ],
)
async def test_one_refused_address_refuses_the_attempt_with_one_text_for_all(
    answer: list[str], reason: str
) -> None:
    guard = Guard(PUBLIC, ScriptedDns(answer))

    with pytest.raises(Blocked) as blocked:
        await guard.addresses(URL, APP)

    assert blocked.value.reason == reason
    assert (blocked.value.kind, blocked.value.detail) == ("blocked", "address not allowed")
    assert guard.cached(URL) is None


async def test_of_a_thousand_public_addresses_only_the_first_few_are_tried() -> None:
    dns = ScriptedDns([f"8.8.{n // 256}.{n % 256}" for n in range(1000)])

    addresses = await Guard(PUBLIC, dns).addresses(URL, APP)

    assert addresses == tuple(f"8.8.0.{n}" for n in range(MAX_ADDRESSES))


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ([], "the name has no address"),
        (socket.gaierror(socket.EAI_AGAIN, "SERVFAIL"), "the name server did not answer"),
        (socket.gaierror(socket.EAI_NONAME, "NXDOMAIN"), "there is no such name"),
        (socket.gaierror(socket.EAI_FAIL, "CNAME loop"), "the name could not be resolved"),
        (OSError("no sockets left"), "the name could not be resolved"),
        (TimeoutError(), "the name server did not answer"),
        (UnicodeError("label too long"), "the name could not be resolved"),
    ],
)
async def test_a_name_without_an_address_is_a_dns_fault(
    answer: Sequence[str] | Exception, detail: str
) -> None:
    with pytest.raises(DeliveryFault) as fault:
        await Guard(PUBLIC, ScriptedDns(answer)).addresses(URL, APP)

    assert (fault.value.kind, fault.value.detail) == ("dns", detail)


async def test_a_name_that_turns_inward_between_two_attempts_is_refused_at_the_second() -> None:
    dns, clock = ScriptedDns([A], ["169.254.169.254"]), Clock()
    guard = Guard(PUBLIC, dns, cache_s=30.0, clock=clock)

    first = await guard.addresses(URL, APP)
    clock.now += 30.0

    assert first == (A,)
    assert guard.cached(URL) is None
    with pytest.raises(Blocked):
        await guard.addresses(URL, APP)


async def test_an_answer_is_known_without_waiting_until_it_is_too_old() -> None:
    dns, clock = ScriptedDns([A], [B]), Clock()
    guard = Guard(PUBLIC, dns, cache_s=30.0, clock=clock)
    assert guard.cached(URL) is None

    await guard.addresses(URL, APP)
    clock.now += 29.9

    assert guard.cached(URL) == (A,)
    assert await guard.addresses(URL, APP) == (A,)
    assert len(dns.asked) == 1
    clock.now += 0.2
    assert guard.cached(URL) is None
    assert await guard.addresses(URL, APP) == (B,)


async def test_a_fault_is_kept_for_a_moment_only() -> None:
    dns, clock = ScriptedDns(socket.gaierror(socket.EAI_AGAIN, "SERVFAIL"), [A]), Clock()
    guard = Guard(PUBLIC, dns, clock=clock)
    for _ in range(2):
        with pytest.raises(DeliveryFault):
            await guard.addresses(URL, APP)
    assert len(dns.asked) == 1

    clock.now += 2.0

    assert await guard.addresses(URL, APP) == (A,)


async def test_many_who_ask_at_once_cost_one_question() -> None:
    dns = ScriptedDns([A])
    dns.may_answer.clear()
    guard = Guard(PUBLIC, dns)

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(guard.addresses(URL, APP)) for _ in range(100)]
        await dns.questions.get()
        dns.may_answer.set()

    assert {task.result() for task in asking} == {(A,)}
    assert len(dns.asked) == 1


async def test_a_fault_reaches_everybody_who_waited_for_the_same_answer() -> None:
    dns = ScriptedDns(["10.0.0.1"])
    dns.may_answer.clear()
    guard = Guard(PUBLIC, dns, cache_s=0.0)

    asking = [asyncio.ensure_future(guard.addresses(URL, APP)) for _ in range(3)]
    await dns.questions.get()
    dns.may_answer.set()
    results = await asyncio.gather(*asking, return_exceptions=True)

    assert [type(result) for result in results] == [Blocked] * 3
    assert len(dns.asked) == 1


async def test_when_the_one_who_asked_gives_up_the_next_asks() -> None:
    dns = ScriptedDns([A])
    dns.may_answer.clear()
    guard = Guard(PUBLIC, dns)
    first = asyncio.ensure_future(guard.addresses(URL, APP))
    await dns.questions.get()
    second = asyncio.ensure_future(guard.addresses(URL, APP))
    await asyncio.sleep(0)

    first.cancel()
    await dns.questions.get()
    dns.may_answer.set()

    assert await second == (A,)
    assert first.cancelled()


async def test_a_resolver_that_says_nothing_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dispatcher.guard.RESOLVE_TIMEOUT_S", 0.05)
    dns = ScriptedDns([A])
    dns.may_answer.clear()

    with pytest.raises(DeliveryFault) as fault:
        await Guard(PUBLIC, dns).addresses(URL, APP)

    assert (fault.value.kind, fault.value.detail) == ("dns", "the name server did not answer")


async def test_kept_answers_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.guard.MAX_NAMES", 3)
    guard = Guard(PUBLIC, ScriptedDns([A]))
    urls = [check_url(f"https://h{n}.example.com/", PUBLIC) for n in range(5)]

    for url in urls:
        await guard.addresses(url, APP)

    assert [guard.cached(url) is not None for url in urls] == [False, False, True, True, True]


async def test_a_literal_is_judged_without_dns() -> None:
    dns = ScriptedDns([])
    guard = Guard(LITERALS, dns)
    url = check_url(f"https://{A}/", LITERALS)

    assert await guard.addresses(url, APP) == (A,)
    assert guard.cached(url) == (A,)
    assert dns.asked == []


async def test_a_literal_that_was_saved_under_a_wider_policy_is_refused_now() -> None:
    url = check_url("http://127.0.0.1:9000/", LOOPBACK)

    with pytest.raises(Blocked):
        await Guard(PUBLIC, ScriptedDns([])).addresses(url, APP)


async def test_localhost_is_the_loopback_as_far_as_it_is_allowed_whatever_dns_says() -> None:
    dns = ScriptedDns(["10.0.0.1"])
    url = check_url("http://localhost:9000/", LOOPBACK)

    assert await Guard(LOOPBACK, dns).addresses(url, APP) == ("127.0.0.1",)
    assert dns.asked == []
    with pytest.raises(DeliveryFault):
        await Guard(PUBLIC, dns).addresses(url, APP)


async def test_a_private_address_passes_where_the_operator_lists_its_network() -> None:
    guard = Guard(LOOPBACK, ScriptedDns(["127.0.0.1"], ["10.0.0.1"]), cache_s=0.0)

    assert await guard.addresses(URL, APP) == ("127.0.0.1",)
    with pytest.raises(Blocked):
        await guard.addresses(URL, APP)


def test_a_peer_is_judged_like_an_answer() -> None:
    guard = Guard(LOOPBACK, ScriptedDns([]))

    assert guard.permits("127.0.0.1")
    assert guard.permits("::ffff:127.0.0.1")
    assert guard.permits(A)
    assert not guard.permits("10.0.0.1")
    assert not guard.permits("fe80::1%2")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_the_system_resolver_gives_plain_addresses(address: str) -> None:
    resolver = SystemResolver()
    try:
        assert list(await resolver(address, APP)) == [address]
    finally:
        resolver.close()


async def test_a_name_that_the_system_cannot_resolve_is_a_dns_fault() -> None:
    resolver = SystemResolver()
    url = EndpointUrl(
        text="http://nowhere.invalid/",
        scheme="http",
        host="nowhere.invalid",
        port=80,
        target=b"/",
        authority=b"nowhere.invalid",
        is_literal=False,
    )
    try:
        with pytest.raises(DeliveryFault) as fault:
            await Guard(PUBLIC, resolver).addresses(url, APP)
    finally:
        resolver.close()

    assert fault.value.kind == "dns"


# Threads are shared


class Blocking:
    """A look-up that holds its thread, for names that begin with "slow", until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.asked: queue.Queue[str] = queue.Queue()  # slow names, when their thread begins

    def __call__(self, name: str) -> Sequence[str]:
        if name.startswith("slow"):
            self.asked.put(name)
            self.let_go.wait(30.0)
        return [A]

    async def holds(self, number: int) -> list[str]:
        """Wait until so many more threads are held."""
        return [await asyncio.to_thread(self.asked.get, timeout=10.0) for _ in range(number)]


@asynccontextmanager
async def a_slow_guard() -> AsyncIterator[tuple[Guard, Blocking]]:
    look_up = Blocking()
    resolver = SystemResolver(look_up)
    try:
        yield Guard(PUBLIC, resolver), look_up
    finally:
        look_up.let_go.set()
        resolver.close()


def slow_names(app_id: str, number: int) -> list[EndpointUrl]:
    names = [f"slow-{app_id.replace('_', '-')}-{n}.example.com" for n in range(number)]
    return [check_url(f"https://{name}/", PUBLIC) for name in names]


async def test_slow_names_of_one_app_do_not_delay_the_look_up_of_another() -> None:
    async with a_slow_guard() as (guard, look_up), asyncio.TaskGroup() as group:
        slow = [group.create_task(guard.addresses(url, APP)) for url in slow_names(APP, 40)]
        await look_up.holds(APP_THREADS)

        addresses = await guard.addresses(URL, "app_2")

        assert addresses == (A,)
        assert look_up.asked.empty()
        assert not any(task.done() for task in slow)
        look_up.let_go.set()


async def test_a_name_that_waits_in_one_apps_line_is_asked_for_another_app_at_once() -> None:
    async with a_slow_guard() as (guard, look_up), asyncio.TaskGroup() as group:
        for url in [*slow_names(APP, 40), URL]:
            group.create_task(guard.addresses(url, APP))
        await look_up.holds(APP_THREADS)

        addresses = await guard.addresses(URL, "app_2")

        assert addresses == (A,)
        assert look_up.asked.empty()
        look_up.let_go.set()


async def test_a_look_up_that_nobody_waits_for_counts_until_its_thread_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dispatcher.guard.RESOLVE_TIMEOUT_S", 0.05)
    async with a_slow_guard() as (guard, look_up):
        for url in slow_names(APP, APP_THREADS + 3):
            with suppress(DeliveryFault):
                await guard.addresses(url, APP)

        asked = await look_up.holds(APP_THREADS)

        assert len(set(asked)) == APP_THREADS
        assert look_up.asked.empty()
        look_up.let_go.set()
        monkeypatch.setattr("dispatcher.guard.RESOLVE_TIMEOUT_S", 10.0)
        assert await guard.addresses(URL, APP) == (A,)


async def test_apps_that_wait_for_a_thread_get_one_each_in_turn() -> None:
    apps = [f"app_{n}" for n in range(6)]
    async with a_slow_guard() as (guard, look_up), asyncio.TaskGroup() as group:
        for app_id in apps:
            for url in slow_names(app_id, 10):
                group.create_task(guard.addresses(url, app_id))
        held = await look_up.holds(RESOLVER_THREADS)
        assert look_up.asked.empty()

        look_up.let_go.set()
        then = await look_up.holds(len(apps))

        assert {name.split("-")[2] for name in held} == {"0", "1", "2", "3"}
        assert {"4", "5"} <= {name.split("-")[2] for name in then}
