import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.cli import main
from deploy.home import Home, write_env
from gateway.svix_token import read_rules, read_token


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATABASE_URL", "NATS_URL", "HOOKLINE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOOKLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOOKLINE_CONNECT_TIMEOUT_S", "1")
    monkeypatch.setenv("HOOKLINE_PORT", "0")


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_what_only_clients_need_is_not_loaded_by_the_others() -> None:
    look = "import sys, deploy.cli; print({'rich', 'httpx', 'tenacity'} & set(sys.modules))"

    said = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)

    assert said.stdout == "set()\n"


def test_a_command_that_does_not_exist_is_a_matter_of_usage() -> None:
    with pytest.raises(SystemExit) as left:
        main(["fly"])

    assert left.value.code == 2


def test_faulty_settings_end_with_2_and_a_line_for_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOKLINE_PROT", "1")

    code = main(["up", "--gateways", "none"])

    assert code == 2
    assert said(capsys) == [
        "hookline: HOOKLINE_PROT is no setting; did you mean HOOKLINE_PORT?",
        "hookline: HOOKLINE_GATEWAYS must be a whole number",
    ]


@pytest.mark.parametrize("command", [["migrate"], ["key", "list"], ["key", "revoke", "key_x"]])
def test_a_command_that_needs_postgres_says_how_to_give_it(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    code = main(command)

    assert code == 1
    assert len(lines := said(capsys)) == 1
    assert lines[0].startswith("hookline: set DATABASE_URL, or run `hookline up`")


@pytest.mark.parametrize("part", ["gateway", "dispatcher"])
def test_a_part_alone_makes_no_vault_keys_of_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, part: str
) -> None:
    code = main([part, "--home", str(tmp_path)])

    assert code == 1
    assert said(capsys) == [
        f"hookline: no vault keys: set HOOKLINE_VAULT_KEYS or restore {tmp_path}/vault.keys"
    ]


def test_addresses_come_from_the_home_when_the_environment_has_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = Home.at(tmp_path)
    write_env(home, {"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x"})

    code = main(["key", "list", "--home", str(tmp_path)])

    assert code == 1
    (line,) = said(capsys)
    assert line.startswith("hookline: Postgres at postgresql://127.0.0.1:1/x does not answer")


def test_a_token_is_printed_for_an_environment_or_an_app_without_a_database(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, org, app = "a secret for tests" * 3, f"org_{'0' * 27}", f"app_{'1' * 27}"
    monkeypatch.setenv("HOOKLINE_JWT_SECRET", secret)

    codes = [main(["jwt", "generate", org]), main(["jwt", "generate", org, "--app", app])]

    now, rules = datetime.now(UTC), read_rules("HS256", secret)
    keys = [read_token(rules, text, now).key for text in capsys.readouterr().out.split()]
    lives = [key.expires_at - now for key in keys if key.expires_at]
    assert codes == [0, 0]
    assert [(key.environment_id, key.app_id) for key in keys] == [(org, None), (org, app)]
    assert [round(life / timedelta(days=1)) for life in lives] == [3650, 28]


def test_a_token_that_nobody_would_take_is_not_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = [main(["jwt", "generate"])]
    monkeypatch.setenv("HOOKLINE_JWT_SECRET", "a secret for tests" * 3)
    codes.append(main(["jwt", "generate", "org_x"]))

    assert codes == [1, 1]
    assert said(capsys) == [
        "hookline: no tokens count here: set HOOKLINE_JWT_SECRET",
        "hookline: org_x is no id: org_ and 27 letters and digits",
    ]


def test_check_looks_at_everything_and_fails_if_anything_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["check"])

    words = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert code == 1
    assert words == [
        ["settings", "ok"],
        ["vault", "FAULT"],
        ["postgres", "FAULT"],
        ["schema", "FAULT"],
        ["nats", "FAULT"],
        ["stream", "FAULT"],
    ]
