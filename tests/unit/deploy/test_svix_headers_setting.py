import pytest

from deploy.settings import Settings
from deploy.wiring import dispatcher_config, gateway_config


@pytest.mark.parametrize("text", ["true", "false"])
def test_gateways_know_whether_dispatchers_send_svixs_names(text: str) -> None:
    settings = Settings.from_environ({"HOOKLINE_SVIX_HEADERS": text})

    told = gateway_config(settings, shards=1).svix_headers

    assert told is dispatcher_config(settings, name="d").svix_headers is (text == "true")
