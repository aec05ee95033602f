import pytest

from deploy.settings import Settings
from deploy.wiring import dispatcher_config
from dispatcher.egress import Proxy, ProxyKind
from schema.errors import SettingsFault

NAME = "HOOKLINE_EGRESS_PROXY"


def test_a_dispatcher_is_told_of_the_proxy() -> None:
    settings = Settings.from_environ({NAME: "socks5://user:pa55-word@10.0.0.1:1080"})

    config = dispatcher_config(settings, name="d")

    assert config.egress_proxy == Proxy(
        kind=ProxyKind.SOCKS5, host="10.0.0.1", port=1080, user="user", password="pa55-word"
    )
    assert "pa55-word" not in f"{settings!r} {config!r}"
    assert Settings.from_environ(settings.to_environ()) == settings


def test_without_the_setting_there_is_no_proxy() -> None:
    assert dispatcher_config(Settings.from_environ({}), name="d").egress_proxy is None


@pytest.mark.parametrize("text", ["", "proxy:3128", "https://user:pa55-word@proxy:3128"])
def test_what_names_no_proxy_stops_the_start_with_a_clear_word(text: str) -> None:
    with pytest.raises(SettingsFault) as fault:
        Settings.from_environ({NAME: text})

    assert NAME in str(fault.value)
    assert "pa55-word" not in str(fault.value)
