from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.settings import Settings, describe
from schema.errors import SettingsFault


def faults_of(**environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsFault) as caught:
        Settings.from_environ(environ)
    return caught.value.faults


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_environ({})

    assert settings == Settings()
    assert (settings.home, settings.host, settings.port) == (Path(".hookline"), "127.0.0.1", 8071)
    assert settings.retry_schedule == (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)


def test_values_are_read_by_type() -> None:
    settings = Settings.from_environ(
        {
            "HOOKLINE_RETRY_SCHEDULE": "1, 2.5,10",
            "HOOKLINE_ALLOWED_NETWORKS": "127.0.0.0/8,::1/128",
            "HOOKLINE_HTTPS_ONLY": "Yes",
            "HOOKLINE_LOG_FORMAT": "json",
            "DATABASE_URL": "postgresql://h@/hookline?host=/run/pg",
        }
    )

    assert settings.retry_schedule == (1.0, 2.5, 10.0)
    assert [str(network) for network in settings.allowed_networks] == ["127.0.0.0/8", "::1/128"]
    assert settings.https_only
    assert settings.log_format == "json"
    assert settings.database_url is not None
    assert settings.database_url.reveal() == "postgresql://h@/hookline?host=/run/pg"


def test_every_fault_is_reported_at_once() -> None:
    faults = faults_of(
        DATABASE_URL="mysql://somewhere",
        HOOKLINE_PORT="99999",
        HOOKLINE_GATEWAYS="two",
        HOOKLINE_REQUEST_TIMEOUT="nan",
        HOOKLINE_ALLOWED_NETWORKS="10.0.0.1/8",
        HOOKLINE_LOG_FORMAT="xml",
        HOOKLINE_HOST="",
    )

    assert sorted(fault.split()[0] for fault in faults) == [
        "DATABASE_URL",
        "HOOKLINE_ALLOWED_NETWORKS",
        "HOOKLINE_GATEWAYS",
        "HOOKLINE_HOST",
        "HOOKLINE_LOG_FORMAT",
        "HOOKLINE_PORT",
        "HOOKLINE_REQUEST_TIMEOUT",
    ]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("HOOKLINE_RETRY_SHEDULE", "HOOKLINE_RETRY_SCHEDULE"),
        ("HOOKLINE_DATABASE_URL", "DATABASE_URL"),
        ("HOOKLINE_ALLOWED_NETWORK", "HOOKLINE_ALLOWED_NETWORKS"),
    ],
)
def test_a_misspelt_name_is_a_fault_that_names_the_nearest(name: str, nearest: str) -> None:
    assert faults_of(**{name: "1"}) == (f"{name} is no setting; did you mean {nearest}?",)


def test_a_strange_name_is_a_fault_without_a_guess() -> None:
    assert faults_of(HOOKLINE_XYZZY="1") == ("HOOKLINE_XYZZY is no setting",)


def test_the_url_that_the_env_file_exports_is_no_fault() -> None:
    assert Settings.from_environ({"HOOKLINE_URL": "http://127.0.0.1:8071"}) == Settings()


def test_a_fault_never_repeats_a_secret() -> None:
    faults = faults_of(DATABASE_URL="mysql://root:hunter2@db", NATS_URL="http://u:hunter2@n")

    assert "hunter2" not in "".join(faults)


def test_printing_the_settings_shows_no_secret() -> None:
    settings = Settings.from_environ(
        {
            "DATABASE_URL": "postgresql://root:hunter2@db/x",
            "NATS_URL": "nats://u:hunter2@n",
            "HOOKLINE_VAULT_KEYS": "k1:hunter2",
        }
    )

    assert "hunter2" not in f"{settings!r} {settings} {settings.vault_keys}"


def test_settings_that_clash_are_named_together() -> None:
    faults = faults_of(HOOKLINE_STREAM_MAX_AGE_DAYS="0.01", HOOKLINE_DUPLICATE_WINDOW_S="3600")

    assert faults == ("HOOKLINE_DUPLICATE_WINDOW_S must not exceed HOOKLINE_STREAM_MAX_AGE_DAYS",)


def test_a_secret_of_tokens_must_fit_how_they_are_signed() -> None:
    short = faults_of(HOOKLINE_JWT_SECRET="hush")
    no_pem = faults_of(HOOKLINE_JWT_SECRET="hush" * 9, HOOKLINE_JWT_ALGORITHM="RS256")
    unknown = faults_of(HOOKLINE_JWT_SECRET="hush" * 9, HOOKLINE_JWT_ALGORITHM="none")

    assert short == (
        "HOOKLINE_JWT_SECRET must be 16 bytes or more: one token is enough to guess a shorter one",
    )
    assert no_pem == ("HOOKLINE_JWT_SECRET must be the PEM of an RSA key, public or private",)
    assert unknown[0].startswith("HOOKLINE_JWT_ALGORITHM must be HS256 or HS384 or")


def test_a_public_url_is_one_that_paths_can_be_put_behind() -> None:
    given = Settings.from_environ({"HOOKLINE_PUBLIC_URL": "https://example.com/hooks/"})

    assert given.public_url == "https://example.com/hooks"
    for text in ("example.com", "ftp://example.com", "https://", "https://example.com/?a=b"):
        assert faults_of(HOOKLINE_PUBLIC_URL=text) == (
            "HOOKLINE_PUBLIC_URL must be an address such as https://hooks.example.com",
        )


@given(
    waits=st.lists(st.floats(0, 86_400), max_size=9),
    port=st.integers(0, 65_535),
    jitter=st.floats(0, 1),
    demo=st.booleans(),
)
def test_what_is_handed_to_a_child_is_read_back_the_same(
    waits: list[float], port: int, jitter: float, *, demo: bool
) -> None:
    settings = Settings(retry_schedule=tuple(waits), port=port, retry_jitter=jitter, demo=demo)

    assert Settings.from_environ(settings.to_environ()) == settings


def test_an_empty_schedule_means_no_retries() -> None:
    assert Settings.from_environ({"HOOKLINE_RETRY_SCHEDULE": ""}).retry_schedule == ()


def test_the_reference_names_every_setting_with_its_meaning() -> None:
    rows = describe()

    assert len(rows) == len({row.name for row in rows})
    assert {"DATABASE_URL", "NATS_URL", "HOOKLINE_RETRY_SCHEDULE"} <= {row.name for row in rows}
    assert all(row.meaning and row.type for row in rows)
