"""The commands of an operator against a real database and a real NATS."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from deploy.cli import main
from deploy.connections import connected_bus, connection
from deploy.faults import StartFault
from deploy.home import Home
from deploy.install import install
from deploy.keys import create_key, keep_operator_key
from deploy.settings import Settings
from deploy.values import Secret
from gateway.svix_token import read_rules, read_token
from schema.api_key import hash_of
from schema.scope import ALL_SCOPES
from schema.store import api_key
from schema.store.link import Pool
from signer.vault import generate_keyring_text
from tests.services import SHARDS, Services

JWT_SECRET = "a secret for tests, as long as it has to be"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def settings(
    services: Services, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings of an installation, also in the environment."""
    environ = {
        "DATABASE_URL": database,
        "NATS_URL": services.nats_url,
        "HOOKLINE_HOME": str(tmp_path),
        "HOOKLINE_STREAM_MAX_BYTES": str(2**28),
        "HOOKLINE_VAULT_KEYS": generate_keyring_text().strip(),
        "HOOKLINE_CONNECT_TIMEOUT_S": "5",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return Settings.from_environ(environ)


@pytest.mark.usefixtures("settings", "stream")
def test_migrating_again_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["migrate"])

    assert code == 0
    assert capsys.readouterr().out == f"schema complete, {SHARDS} shards; stream kept\n"


@pytest.mark.usefixtures("settings", "stream")
def test_check_finds_nothing_wrong_with_what_was_installed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["check"])

    assert code == 0, capsys.readouterr()
    assert "FAULT" not in capsys.readouterr().out


@pytest.mark.usefixtures("settings")
def test_a_key_is_printed_once_listed_by_its_hint_and_revoked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    codes = [main(["key", "create", "--name", "deploys"])]
    made = capsys.readouterr()
    text, key_id = made.out.strip(), made.err.partition(":")[0]
    codes += [main(["key", "list"]), main(["key", "revoke", key_id])]
    before = capsys.readouterr().out
    codes.append(main(["key", "list"]))
    after = capsys.readouterr().out

    assert codes == [0, 0, 0, 0]
    assert text.startswith("hk_")
    assert text not in before
    assert text[-4:] in before
    assert "valid" in before
    assert "deploys" in before
    assert "revoked" in after


@pytest.mark.usefixtures("settings")
def test_revoking_a_key_that_does_not_exist_fails(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["key", "revoke", "key_none"])

    assert code == 1
    assert capsys.readouterr().err == "hookline: there is no key key_none\n"


@pytest.mark.usefixtures("settings", "stream")
def test_a_key_may_be_made_for_some_scopes_and_for_none_that_there_are_not(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = main(["key", "create", "--scope", "message:create", "--scope", "event-type:Read"])
    text = capsys.readouterr().out.strip()
    refused = main(["key", "create", "--scope", "message:all"])
    told = capsys.readouterr().err

    async def stored() -> list[str]:
        link = await asyncpg.connect(database)
        try:
            found: list[str] = await link.fetchval(
                "SELECT scopes FROM api_key WHERE hash = $1", hash_of(text)
            )
            return found
        finally:
            await link.close()

    assert (made, refused) == (0, 1)
    assert asyncio.run(stored()) == ["message:create", "event-type:Read"]
    assert "message:all" in told
    assert "message:create" in told


@pytest.mark.usefixtures("settings")
def test_a_token_is_the_default_environments_if_none_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOKLINE_JWT_SECRET", JWT_SECRET)

    codes = [main(["jwt", "generate"]), main(["key", "create"]), main(["key", "list"])]

    text, _, listed, *_ = capsys.readouterr().out.splitlines()
    key = read_token(read_rules("HS256", JWT_SECRET), text, datetime.now(UTC)).key
    assert codes == [0, 0, 0]
    assert key.environment_id.startswith("org_")
    assert "everywhere" in listed


async def test_a_key_acts_everywhere_or_in_one_environment(pool: Pool) -> None:
    async with pool.acquire() as link:
        everywhere, _ = await create_key(link, name="", environment_id=None, now=NOW)
        one, text = await create_key(
            link, name="", environment_id=everywhere.environment_id, now=NOW
        )
        found = await api_key.find(link, hash_of(text))

    assert everywhere.scopes == (ALL_SCOPES,)
    assert one.scopes == ()
    assert found == one


async def test_a_key_for_an_environment_that_does_not_exist_is_refused(pool: Pool) -> None:
    async with pool.acquire() as link:
        with pytest.raises(StartFault, match="there is no environment org_none"):
            await create_key(link, name="", environment_id="org_none", now=NOW)


async def test_the_homes_key_is_kept_while_it_counts_and_made_anew_after(
    pool: Pool, tmp_path: Path
) -> None:
    home = Home.at(tmp_path)
    texts = []
    async with pool.acquire() as link:
        for _ in range(2):
            await keep_operator_key(link, home, now=NOW)
            texts.append(home.operator_key.read_text().strip())
        key = await api_key.find(link, hash_of(texts[0]))
        assert key is not None
        await api_key.revoke(link, key.id, NOW)
        await keep_operator_key(link, home, now=NOW)
        texts.append(home.operator_key.read_text().strip())

    assert texts[0] == texts[1] != texts[2]
    assert home.operator_key.stat().st_mode & 0o777 == 0o600


async def test_an_empty_database_and_a_new_nats_are_installed(
    services: Services, settings: Settings, database: str
) -> None:
    link = await asyncpg.connect(database)
    await link.execute("CREATE DATABASE empty_one TEMPLATE template0")
    try:
        url = Secret(services.database_url("empty_one"))
        done = await install(Settings(**{**vars(settings), "database_url": url, "shards": 4}))
        async with connected_bus(settings, name="test") as bus:
            info = await bus.jetstream().stream_info("EVENTS")
            await bus.jetstream().delete_stream("EVENTS")
    finally:
        await link.execute("DROP DATABASE empty_one WITH (FORCE)")
        await link.close()

    assert done.shards == 4
    assert done.migrations == sorted(done.migrations) != []
    assert done.stream_is_new
    assert info.config.allow_atomic
    assert info.config.subject_transform is not None
    assert "partition(4,1)" in info.config.subject_transform.dest


async def test_postgres_is_waited_for_while_it_starts(
    services: Services, settings: Settings
) -> None:
    await services.postgres.stop()

    async with asyncio.TaskGroup() as group:
        group.create_task(services.postgres.start())
        async with connection(Settings(**{**vars(settings), "connect_timeout_s": 30.0})) as link:
            answer = await link.fetchval("SELECT 1")

    assert answer == 1


async def test_a_database_that_does_not_exist_is_told_at_once(
    services: Services, settings: Settings
) -> None:
    url = Secret(services.database_url("nowhere"))

    with pytest.raises(StartFault, match='lets us not in: database "nowhere" does not exist'):
        async with connection(Settings(**{**vars(settings), "database_url": url})):
            pass


async def test_a_nats_that_is_away_is_one_line_without_its_password(settings: Settings) -> None:
    away = Settings(
        **{
            **vars(settings),
            "nats_url": Secret("nats://u:hunter2@127.0.0.1:1"),
            "connect_timeout_s": 1.0,
        }
    )

    with pytest.raises(StartFault, match=r"^NATS at nats://127\.0\.0\.1:1 does not answer") as told:
        async with connected_bus(away, name="test"):
            pass

    assert "hunter2" not in str(told.value)
