"""How mails go out, as an operator says it."""

import pytest

from deploy.settings import Settings
from deploy.wiring import dispatcher_config, gateway_config
from dispatcher.mail import MailServer
from schema.errors import SettingsFault

URL, SENDER = "HOOKLINE_SMTP_URL", "HOOKLINE_MAIL_FROM"
BOTH = {
    URL: "starttls://us%40er:pa55%2Fword@mail.example.com",
    SENDER: "hooks@example.com",
}


def test_dispatchers_are_told_of_the_server_and_gateways_that_there_is_one() -> None:
    settings = Settings.from_environ(BOTH)

    config = dispatcher_config(settings, name="d")

    assert config.mail == MailServer(
        scheme="starttls", host="mail.example.com", port=587, user="us@er", password="pa55/word",
        sender="hooks@example.com",
    )  # fmt: skip
    assert gateway_config(settings, shards=1).mails
    assert "pa55" not in f"{settings!r} {config!r}"
    assert Settings.from_environ(settings.to_environ()) == settings


def test_without_the_settings_nobody_is_mailed() -> None:
    settings = Settings.from_environ({})

    assert dispatcher_config(settings, name="d").mail is None
    assert not gateway_config(settings, shards=1).mails


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({URL: "http://user:pa55@mail.example.com"}, URL),
        ({URL: "mail.example.com:25"}, URL),
        ({SENDER: "Acme <hooks@example.com>"}, SENDER),
        ({SENDER: "a@example.com, b@example.com"}, SENDER),
        ({SENDER: None}, SENDER),
        ({URL: None}, URL),
    ],
)
def test_what_does_not_add_up_stops_the_start_with_a_clear_word(
    changes: dict[str, str | None], named: str
) -> None:
    environ = {name: value for name, value in (BOTH | changes).items() if value is not None}

    with pytest.raises(SettingsFault) as fault:
        Settings.from_environ(environ)

    assert named in str(fault.value)
    assert "pa55" not in str(fault.value)
