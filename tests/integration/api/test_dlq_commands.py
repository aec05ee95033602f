"""`hookline dlq` against a real gateway and dispatcher, as a person sees it."""

import re
from pathlib import Path

import pytest
import pytest_asyncio

from tests import tasks
from tests.command_line import Shell, on_terminal
from tests.dispatching import World, eventually
from tests.receiver import Receiver, answer, raw
from tests.tenants import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")
lent_to_a_test = pytest_asyncio.fixture(loop_scope="module")


async def states(world: World) -> dict[str, int]:
    """Count the letters of the environment by state."""
    rows = await world.pool.fetch(
        "SELECT state, count(*) FROM dead_letter WHERE environment_id = $1 GROUP BY state",
        world.environment_id,
    )
    return {row["state"]: row["count"] for row in rows}


class TestReading:
    async def test_letters_are_listed_within_the_width_with_their_whole_ids(
        self, shell: Shell, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        plain, long = await tenant.parked(), await tenant.parked(event_type="a" * 60, status=503)

        said = await shell.run("dlq", "list")

        title, *lines = said.out.splitlines()
        assert title.split() == [
            "LETTER",
            "PARKED",
            "FAILED",
            "OF",
            "EVENT",
            "TYPE",
            "TRIES",
            "SIZE",
        ]
        assert {line.split()[0] for line in lines} == {plain, long}
        (cut,) = (line for line in lines if line.startswith(long))
        assert re.search(r"http_5xx 503  a+… +10 +8 B$", cut)
        assert max(len(line) for line in said.out.splitlines()) <= 80

    async def test_letters_are_chosen_by_the_filters_of_the_api(
        self, shell: Shell, tenant: Tenant
    ) -> None:
        wanted = await tenant.parked(
            event_type="a.b", status=503, attempts=4, response=b"no such account",
            payload=b'{"amount": 7}', reason="aborted",
        )  # fmt: skip
        await tenant.parked(endpoint_id=tenant.other_id)
        (group,) = (await shell.run("dlq", "groups", "--error-class", "aborted", "--json")).data[
            "data"
        ]

        for flags in (
            "--app one --endpoint e1 --why aborted --error-class aborted",
            f"--group {group['id']} --event-type a.b,c.d --status 503",
            "--status 5xx --attempts-min 4 --attempts-max 4",
            "--text ACCOUNT --payload-path $.amount",
            f"--state all --app one --app {tenant.app_id} --endpoint {tenant.endpoint_id}",
            "--after 1h --before 2200-01-01T00:00:00Z --why aborted",
        ):
            said = await shell.run("dlq", "list", "--json", *flags.split())
            assert [letter["id"] for letter in said.data["data"]] == [wanted], flags

    async def test_more_than_a_page_is_read_up_to_the_limit_and_it_says_that_there_is_more(
        self, shell: Shell, world: World
    ) -> None:
        app_id = await world.app(uid="one")
        made = await tasks.letters(world, app_id, await world.endpoint(app_id, "http://there"), 270)

        said = await shell.run("dlq", "list", "--limit", "260", "--oldest-first", "--json")
        told = await shell.run("dlq", "list", "--limit", "2")
        count = await shell.run("dlq", "count")

        assert [letter["id"] for letter in said.data["data"]] == made[:260]
        assert said.data["done"] is False
        assert "these are 2" in told.out
        assert count.out == "270\n"

    async def test_groups_are_listed_the_largest_first_with_what_was_said(
        self, shell: Shell, tenant: Tenant
    ) -> None:
        for fingerprint in ("small", "large", "large"):
            await tenant.parked(fingerprint=fingerprint, response=fingerprint.encode())

        said = await shell.run("dlq", "groups")

        _, large, small, hint = said.out.splitlines()
        assert re.search(r"dlg_\w{32} +2 .* open .*█.* large", large)
        assert re.search(r"dlg_\w{32} +1 .* open .*█.* small", small)
        assert "--group" in hint

    async def test_groups_are_acknowledged_snoozed_resolved_and_opened_again(
        self, shell: Shell, tenant: Tenant
    ) -> None:
        for fingerprint in ("one", "two"):
            await tenant.parked(fingerprint=fingerprint)
        listed = (await shell.run("dlq", "groups", "--json")).data["data"]
        one, two = (group["id"] for group in listed)

        said = [
            await shell.run("dlq", "groups", one, two, "--acknowledge", "--reason", "seen"),
            await shell.run("dlq", "groups", one, "--snooze", "2h"),
            await shell.run("dlq", "groups", one, "--resolve", "--app", tenant.app_id),
        ]
        opened = await shell.run("dlq", "groups", one, "--reopen", "--json")

        assert [run.code for run in said] == [0, 0, 0]
        assert said[0].out == f"{one} is acknowledged\n{two} is acknowledged\n"
        assert re.fullmatch(rf"{one} is snoozed, until .+\n", said[1].out)
        assert said[2].out == f"{one} is resolved\n"
        assert [group["state"] for group in opened.data["data"]] == ["open"]

    @pytest.mark.parametrize(
        ("flags", "why"),
        [
            ("--acknowledge", "name the groups"),
            ("{one}", "say what to do"),
            ("{one} --snooze soon", "--snooze must be a time"),
            ("{none} --resolve", "no letter of a group"),
            ("--reason seen", "say what to do"),
        ],
    )
    async def test_a_move_of_groups_that_cannot_be_says_what_is_missing(
        self, shell: Shell, tenant: Tenant, flags: str, why: str
    ) -> None:
        await tenant.parked()
        (group,) = (await shell.run("dlq", "groups", "--json")).data["data"]
        flags = flags.format(one=group["id"], none=f"dlg_{'0' * 32}")

        said = await shell.run("dlq", "groups", *flags.split())

        assert said.code != 0
        assert why in said.err

    async def test_a_letter_is_shown_without_its_app_and_moves_no_cursor(
        self, shell: Shell, tenant: Tenant
    ) -> None:
        letter = await tenant.parked(response=b"\x1b[2J\x1b]0;owned\x07no\nway", payload=b'{"n":7}')

        said = await shell.run("dlq", "show", letter)
        data = (await shell.run("dlq", "show", letter, "--json")).data

        assert said.code == 0
        assert "\x1b" not in said.out
        assert "·[2J·]0;owned·no\nway" in said.out
        assert 'payload\n{\n  "n": 7\n}' in said.out
        assert f"app          one ({tenant.app_id})" in said.out
        assert data["id"] == letter

    async def test_a_payload_that_was_cut_in_an_emoji_is_shown_and_exported_as_it_came(
        self, shell: Shell, tenant: Tenant
    ) -> None:
        letter = await tenant.parked(payload=b'{"text":"cut \\ud83d"}')

        shown = await shell.run("dlq", "show", letter)
        exported = await shell.run("dlq", "export")

        assert '"text": "cut \ufffd"' in shown.out
        assert '"payload":{"text":"cut \\ud83d"}' in exported.out

    async def test_what_the_api_refuses_is_said_a_line_for_each_fault(
        self, shell: Shell, tenant: Tenant
    ) -> None:
        await tenant.parked()

        fields = await shell.run("dlq", "redeliver", "--all", "--yes", "--rate=-1", "--probe", "0")
        query = await shell.run("dlq", "list", "--fault", "bad_luck")
        key = await shell.run("dlq", "list", "--key", "hk_nobody")
        nowhere = await shell.run("dlq", "list", "--url", "http://127.0.0.1:1")
        no_letter = await shell.run("dlq", "show", f"dl_{'0' * 27}")

        assert fields.err.splitlines() == [
            "hookline: rate: must be 0.01 to 100000",
            "hookline: probe: must be 1 to 10000",
        ]
        assert query.err.startswith("hookline: generic_error (400): The query parameter fault must")
        assert key.err.startswith("hookline: authentication_failed (401): ")
        assert nowhere.err.startswith("hookline: http://127.0.0.1:1 does not answer: ")
        assert f"there is no letter dl_{'0' * 27}" in no_letter.err
        assert {said.code for said in (fields, query, key, nowhere, no_letter)} == {1}


class TestExporting:
    async def test_an_export_goes_to_a_file_whole_with_its_closing_line(
        self, shell: Shell, tenant: Tenant, tmp_path: Path
    ) -> None:
        letters = sorted([await tenant.parked(), await tenant.parked()])

        said = await shell.run("dlq", "export", "--output", str(tmp_path / "letters.ndjson"))
        piped = await shell.run("dlq", "export", "--app", "one")

        lines = (tmp_path / "letters.ndjson").read_text().splitlines()
        assert said.err == f"exported 2 letters to {tmp_path / 'letters.ndjson'}\n"
        assert [line[7:37] for line in lines[:-1]] == letters
        assert lines[-1] == '{"complete":true,"count":2}'
        assert piped.out.splitlines() == lines
        assert [path.name for path in tmp_path.iterdir()] == ["letters.ndjson"]

    @pytest.mark.parametrize(
        "end", [b"", b'3c\r\n{"id":"dl_1"', b'1b\r\n{"complete":true,"count":7}\r\n0\r\n\r\n']
    )
    async def test_an_export_that_was_cut_off_is_a_failure_and_does_not_get_its_name(
        self, shell: Shell, receiver: Receiver, tmp_path: Path, end: bytes
    ) -> None:
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        line = b'e\r\n{"id":"dl_0"}\n\r\n'
        receiver.script("/api/v1/dead-letter/export", raw(head + line, end, close=True))
        file = tmp_path / "letters"

        said = await shell.run("dlq", "export", "--output", str(file), "--url", receiver.url(""))

        assert said.code == 1
        assert "hookline: the export was cut off after " in said.err
        assert not file.exists()


@pytest.mark.usefixtures("running")
class TestRedelivering:
    async def test_letters_are_redelivered_and_the_end_says_what_became_of_them(
        self, shell: Shell, world: World, receiver: Receiver
    ) -> None:
        receiver.script("/bad", answer(400))
        app_id = await world.app(uid="one")
        good = await world.endpoint(app_id, receiver.url("/good"))
        bad = await world.endpoint(app_id, receiver.url("/bad"))
        await tasks.letters(world, app_id, good, 12)
        (letter,) = await tasks.letters(world, app_id, bad, 1)

        said = await shell.run("dlq", "redeliver", "--app", "one", "--no-retry", "--yes")

        assert said.code == 1  # one failed
        title, _, first, second, *_ = said.out.splitlines()
        assert title.startswith("13 dead letters to redeliver, ")
        assert re.fullmatch(rf" +12 +- .*{receiver.url('/good')} +one", first)
        assert re.fullmatch(rf" +1 +- .*{receiver.url('/bad')} +one", second)
        assert "finished: 12 delivered, 1 failed" in said.out
        hint = re.search(r"what failed: hookline (dlq task items .*)", said.out)
        assert hint is not None
        items = await shell.run(*hint[1].split())
        assert letter in items.out
        assert await states(world) == {"redelivered": 12, "parked": 1}

    async def test_the_flags_become_the_plan_and_json_is_all_that_stdout_has(
        self, shell: Shell, world: World, receiver: Receiver
    ) -> None:
        app_id = await world.app(uid="one")
        one = await world.endpoint(app_id, receiver.url("/one"))
        other = await world.endpoint(app_id, receiver.url("/other"))
        made = await tasks.letters(world, app_id, one, 2)

        said = await shell.run(
            "dlq", "redeliver", *made, "--app", "one", "--yes", "--json", "--rate", "50.5",
            "--concurrency", "3", "--probe", "1", "--stop-percent", "12.5", "--newest-first",
            "--no-retry", "--to-endpoint", other, "--job-id", "job", "--reason", "they asked",
        )  # fmt: skip

        assert (said.code, said.data["state"], said.data["delivered"]) == (0, "finished", 2)
        assert said.data["jobId"] == "job"
        assert said.data["plan"] == {
            "letterIds": made, "toEndpointId": other, "order": "newest", "rate": 50.5,
            "concurrency": 3, "probe": 1, "stopPercent": 12.5, "retry": False,
            "reason": "they asked",
        }  # fmt: skip
        assert {one.path for one in await receiver.wait_for(2)} == {"/other"}

    async def test_on_a_terminal_it_asks_shows_a_bar_and_ctrl_c_leaves_the_task_running(
        self, environ: dict[str, str], shell: Shell, world: World, receiver: Receiver
    ) -> None:
        app_id = await world.app(uid="one")
        await tasks.letters(world, app_id, await world.endpoint(app_id, receiver.url()), 30)

        async with on_terminal(
            *("dlq", "redeliver", "--app", "one", "--rate", "20"), environ=environ
        ) as terminal:
            await terminal.until("Redeliver them? [y/N]")
            terminal.type("y\n")
            await terminal.until("/30 ")
            terminal.type("\x03")
            code = await terminal.ended()
        again = re.search(r"hookline (dlq task watch qtask_\w+ --app one)", terminal.shown)
        assert again is not None, terminal.shown
        watched = await shell.run(*again[1].split())

        assert code == 130
        assert "━" in terminal.shown
        assert "goes on without us" in terminal.shown
        assert (watched.code, watched.out) == (0, "finished: 30 delivered\n")

    async def test_a_task_is_listed_paused_resumed_and_cancelled(
        self, shell: Shell, world: World, receiver: Receiver
    ) -> None:
        app_id = await world.app(uid="one")
        await tasks.letters(world, app_id, await world.endpoint(app_id, receiver.url()), 30)

        made = await shell.run(
            "dlq", "redeliver", "--all", "--rate", "1", "--detach", "--yes", "--json"
        )
        task = made.data["id"]
        steps = [await shell.run("dlq", "task", word, task) for word in ("pause", "resume")]
        listed = await shell.run("dlq", "task", "list")
        cancelled = await shell.run("dlq", "task", "cancel", task)
        watched = await shell.run("dlq", "task", "watch", task)
        shown = await shell.run("dlq", "task", "show", task)
        refused = await shell.run("dlq", "task", "resume", task)

        assert [f"{task}: paused" in steps[0].out, steps[1].code] == [True, 0]
        assert re.search(rf"{task} +\w+ +redeliver ", listed.out)
        assert f"{task}: cancelled" in cancelled.out
        assert (watched.code, watched.out.partition(":")[0]) == (1, "cancelled")
        assert f"{task}, dead_letter.redeliver: cancelled" in shown.out
        assert (refused.code, refused.err) == (
            1, "hookline: bad_state (409): The task is cancelled: it cannot be resumed.\n",
        )  # fmt: skip

    async def test_letters_are_discarded_and_purged_with_a_reason(
        self, shell: Shell, world: World
    ) -> None:
        app_id = await world.app(uid="one")
        await tasks.letters(world, app_id, await world.endpoint(app_id, "http://there"), 3)

        without = await shell.run("dlq", "discard", "--all", "--yes")
        discarded = await shell.run("dlq", "discard", "--all", "--yes", "--reason", "of no use")
        kept = await states(world)
        await shell.run(
            *("dlq", "purge", "--state", "discarded", "--yes", "--reason", "of no use", "--detach")
        )

        assert (without.code, without.err) == (
            1, "hookline: say why, for the audit trail: --reason TEXT\n",
        )  # fmt: skip
        assert "finished: 3 done" in discarded.out
        assert kept == {"discarded": 3}
        await eventually(lambda: _none_left(world))


async def _none_left(world: World) -> bool:
    return not await states(world)


class TestCare:
    async def test_a_dry_run_says_what_stands_in_the_way_and_does_nothing(
        self, shell: Shell, tenant: Tenant
    ) -> None:
        await tenant.parked()
        await tenant.link.execute(
            "UPDATE endpoint SET state = 'disabled' WHERE id = $1", tenant.endpoint_id
        )

        said = await shell.run("dlq", "redeliver", "--all", "--dry-run")
        data = (await shell.run("dlq", "redeliver", "--all", "--dry-run", "--json")).data
        listed = await shell.run("dlq", "task", "list")

        assert "1 dead letter to redeliver" in said.out
        assert "1 cannot go: the endpoint is disabled: enable it first" in said.out
        assert (data["count"], data["blocked"]) == (1, {"endpoint_disabled": 1})
        assert listed.out == "no tasks\n"

    async def test_without_a_terminal_and_without_yes_nothing_is_done(
        self, shell: Shell, tenant: Tenant
    ) -> None:
        await tenant.parked()

        said = await shell.run("dlq", "redeliver", "--all")

        assert (said.code, said.out) == (1, "")
        assert said.err == (
            "hookline: nobody is here to ask: --yes to redeliver, --dry-run to look first\n"
        )

    async def test_all_letters_are_meant_only_by_name(self, shell: Shell, tenant: Tenant) -> None:
        letter = await tenant.parked()

        nothing = await shell.run("dlq", "redeliver", "--yes")
        both = await shell.run("dlq", "redeliver", letter, "--why", "gone", "--yes")

        assert nothing.err.startswith("hookline: which letters? ")
        assert both.err == "hookline: letters by their ids go without a filter\n"
        assert {nothing.code, both.code} == {1}

    async def test_purging_wants_the_word_typed(
        self, environ: dict[str, str], tenant: Tenant
    ) -> None:
        letter = await tenant.parked()

        async with on_terminal(
            "dlq", "purge", letter, "--reason", "x", environ=environ
        ) as terminal:
            await terminal.until("Type purge to go on:")
            terminal.type("y\n")
            code = await terminal.ended()

        assert code == 1
        assert "nothing was done" in terminal.shown
        assert (await tenant.letter(letter))["state"] == "parked"
