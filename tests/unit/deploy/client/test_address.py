import argparse
from pathlib import Path

import pytest

from deploy.client.address import find_address
from deploy.faults import StartFault
from deploy.home import Home, write_env
from deploy.settings import Settings

URL = "http://127.0.0.1:8071"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOOKLINE_URL", "HOOKLINE_KEY"):
        monkeypatch.delenv(name, raising=False)
    write_env(Home.at(tmp_path), {"HOOKLINE_URL": URL})
    Home.at(tmp_path).operator_key.write_text("hk_home\n")
    return tmp_path


def found(home: Path, **flags: str) -> tuple[str, str]:
    given = argparse.Namespace(**{"url": None, "key": None, "environment": None, **flags})
    address = find_address(Settings(home=home), given)
    return address.url, address.key.reveal()


def test_the_home_of_a_running_installation_is_enough(home: Path) -> None:
    assert found(home) == (URL, "hk_home")


def test_flags_go_before_the_environment_and_that_before_the_home(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOKLINE_URL", "https://two/")
    monkeypatch.setenv("HOOKLINE_KEY", "hk_two")

    assert found(home) == ("https://two", "hk_two")
    assert found(home, url="https://three", key="hk_three") == ("https://three", "hk_three")
    assert found(home, environment="org_1") == ("https://two", "hk_two|org_1")


def test_the_homes_key_is_sent_to_nobody_else(home: Path) -> None:
    with pytest.raises(StartFault, match="there is no key for https://elsewhere: give --key"):
        found(home, url="https://elsewhere")


def test_without_an_address_it_says_where_it_looked(home: Path) -> None:
    with pytest.raises(StartFault, match="where is Hookline"):
        found(home / "empty")
