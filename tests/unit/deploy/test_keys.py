from pathlib import Path

import pytest

from deploy.faults import StartFault
from deploy.home import Home
from deploy.keys import keep_vault_keys
from deploy.settings import Settings
from deploy.values import Secret
from signer.vault import Keyring


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path)


def test_a_new_home_gets_keys_of_its_own_that_stay(home: Home) -> None:
    keep_vault_keys(Settings(), home)
    first = home.vault_keys.read_text()

    keep_vault_keys(Settings(), home)

    assert home.vault_keys.read_text() == first
    assert len(Keyring.from_text(first).keys) == 1
    assert home.vault_keys.stat().st_mode & 0o777 == 0o600


def test_no_keys_are_made_when_the_operator_gives_some(home: Home) -> None:
    keep_vault_keys(Settings(vault_keys=Secret("k1:whatever")), home)

    assert not home.vault_keys.exists()


@pytest.mark.parametrize("name", ["postgres", "operator.key"])
def test_keys_that_were_lost_are_not_replaced_by_others(home: Home, name: str) -> None:
    (home.root / name).touch()

    with pytest.raises(StartFault, match="is missing: restore it"):
        keep_vault_keys(Settings(), home)

    assert not home.vault_keys.exists()
