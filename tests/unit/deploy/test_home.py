import os
from pathlib import Path

import pytest

from deploy.faults import StartFault
from deploy.home import Home, hold, last_line, open_log, read_env, write_env, write_private


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path / "home")


def test_a_second_holder_is_refused_while_the_first_runs(home: Home) -> None:
    with hold(home), pytest.raises(StartFault, match="another `hookline up` is running"):
        hold(home).__enter__()

    with hold(home):
        pass


def test_a_home_of_another_layout_is_refused(home: Home) -> None:
    with hold(home):
        home.version.write_text("99\n")

    with pytest.raises(StartFault, match="has layout 99"):
        hold(home).__enter__()


def test_a_directory_of_somebody_elses_is_left_alone(home: Home) -> None:
    home.root.mkdir()
    (home.root / "thesis.tex").touch()

    with pytest.raises(StartFault, match="no data directory of Hookline"):
        hold(home).__enter__()

    assert [path.name for path in home.root.iterdir()] == ["thesis.tex"]


def test_a_home_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StartFault, match="cannot use") as caught:
        hold(Home.at(tmp_path / "file" / "home")).__enter__()

    assert "\n" not in str(caught.value)


def test_the_addresses_are_read_back_as_they_were_written(home: Home) -> None:
    values = {"NATS_URL": "nats://a:b@c", "DATABASE_URL": "postgresql://u@/d?host=/a b/'c"}
    with hold(home):
        write_env(home, values)

    assert read_env(home) == values
    assert home.env.stat().st_mode & 0o777 == 0o600


def test_a_home_without_addresses_has_none(home: Home) -> None:
    assert read_env(home) == {}


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_private(path, "old and long\n")

    write_private(path, "new\n")

    assert path.read_text() == "new\n"
    assert [one.name for one in tmp_path.iterdir()] == ["key"]


def test_the_word_of_a_failure_is_of_this_run(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("FATAL: of yesterday\n")
    start = log.stat().st_size
    with log.open("a") as file:
        file.write("LOG: hello\nFATAL: of today\nLOG: bye\n")

    assert last_line(log, marks=("FATAL",), start=start) == "FATAL: of today"
    assert last_line(log, marks=("PANIC",), start=start) == "LOG: bye"
    assert last_line(tmp_path / "none", marks=("FATAL",), start=0) == ""


def test_a_large_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.home._LOG_BYTES", 10)
    log = tmp_path / "x.log"
    log.write_text("more than ten bytes")

    with os.fdopen(open_log(log), "w") as file:
        file.write("new")

    assert log.read_text() == "new"
    assert (tmp_path / "x.log.1").read_text() == "more than ten bytes"
