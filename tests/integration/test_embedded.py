import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from deploy.embedded import make_database, own_database_url, prepare_postgres
from deploy.embedded_nats import own_nats_url, prepare_nats
from deploy.faults import StartFault
from deploy.home import Home, hold
from deploy.ports import first_free
from deploy.settings import Settings
from deploy.streams import ensure_stream, events_stream
from schema.store.link import Pool
from tests.services import SHARDS, Server, Services, connected

SMALL = {"max_payload_bytes": 1_048_576, "stream_max_bytes": 2**26}


@pytest.fixture
def home(directory: Path) -> Iterator[Home]:
    with hold(Home.at(directory / "home")):
        yield Home.at(directory / "home")


async def running(home: Home) -> tuple[Server, str]:
    """Start a Postgres on a home; gives it and its address."""
    embedded = await prepare_postgres(home, notes=[])
    server = Server(embedded.part, log=home.log / "postgres.log")
    await server.start()
    return server, embedded.url


async def test_what_was_committed_is_there_after_a_kill_and_a_new_start(home: Home) -> None:
    server, url = await running(home)
    try:
        await make_database(url)
        link = await asyncpg.connect(url)
        await link.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        await link.close(timeout=5)
        await server.kill()

        await server.start()

        link = await asyncpg.connect(url)
        assert await link.fetchval("SELECT answer FROM kept") == 42
        await link.close()
    finally:
        await server.stop()


async def test_postgres_is_the_one_promised_and_safe(home: Home) -> None:
    server, url = await running(home)
    try:
        await make_database(url)
        await make_database(url)
        link = await asyncpg.connect(url)
        names = ("fsync", "synchronous_commit", "data_checksums", "listen_addresses")
        found = [await link.fetchval(f"SHOW {name}") for name in names]
        encoding = await link.fetchrow(
            "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database"
            " WHERE datname = current_database()"
        )
        version = link.get_server_version()
        await link.close()
    finally:
        await server.stop()

    assert version.major == 18
    assert found == ["on", "on", "on", ""]
    assert tuple(encoding or ()) == ("UTF8", "C")
    assert url == own_database_url(home)
    assert (home.run / "postgres").stat().st_mode & 0o777 == 0o700
    assert home.postgres.stat().st_uid != 0


async def test_data_of_another_major_version_is_refused(home: Home) -> None:
    home.postgres.mkdir()
    (home.postgres / "PG_VERSION").write_text("17\n")

    with pytest.raises(StartFault, match="was made by Postgres 17, this is 18"):
        await prepare_postgres(home, notes=[])


async def test_a_cluster_that_was_half_made_counts_for_nothing(home: Home) -> None:
    (home.root / "postgres.new").mkdir()
    (home.root / "postgres.new" / "PG_VERSION").write_text("18\n")

    server, _ = await running(home)
    await server.stop()

    assert not (home.root / "postgres.new").exists()


async def test_a_server_that_is_left_of_an_earlier_run_is_named(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.embedded._LEFTOVER_S", 0.2)
    server, _ = await running(home)
    try:
        with pytest.raises(StartFault, match=f"end process {server.pid}"):
            await prepare_postgres(home, notes=[])
    finally:
        await server.stop()


async def test_a_home_with_a_long_path_gets_a_short_socket(home: Home) -> None:
    deep = Home.at(home.root.parent / ("deep" * 25))

    with hold(deep):
        server, url = await running(deep)
        await make_database(url)
        await server.stop()

    sockets = Path(url.partition("?host=")[2])
    assert len(os.fsencode(sockets)) < 90
    assert sockets.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(sockets)


async def test_a_directory_for_sockets_that_somebody_else_made_is_refused(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home.root.parent))
    deep = Home.at(home.root.parent / ("deep" * 25))
    sockets = Path(own_database_url(deep).partition("?host=")[2])
    sockets.symlink_to(home.root)

    with hold(deep), pytest.raises(StartFault, match="belongs to somebody else"):
        await prepare_postgres(deep, notes=[])


async def test_nats_keeps_port_and_password_from_start_to_start(home: Home) -> None:
    first = await prepare_nats(home, **SMALL, notes=[], ports=())
    second = await prepare_nats(home, **SMALL, notes=[], ports=())

    assert first.url == second.url == own_nats_url(home)


async def test_nats_moves_when_another_program_took_its_port(home: Home) -> None:
    notes: list[str] = []
    first = await prepare_nats(home, **SMALL, notes=notes, ports=())
    port = int(first.url.rpartition(":")[2])
    taker = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)

    async with taker:
        second = await prepare_nats(home, **SMALL, notes=notes, ports=())

    assert second.url != first.url
    assert second.url.rpartition("@")[0] == first.url.rpartition("@")[0]
    assert len(notes) == 1
    assert f"port {port} of NATS is taken" in notes[0]


async def test_nats_takes_the_usual_port_if_it_is_free(home: Home) -> None:
    free = first_free(())

    embedded = await prepare_nats(home, **SMALL, notes=[], ports=[free])

    assert embedded.url.endswith(f":{free}")


async def test_what_nats_acknowledged_is_there_after_a_kill(home: Home) -> None:
    embedded = await prepare_nats(home, **SMALL, notes=[], ports=())
    server = Server(embedded.part, log=home.log / "nats.log")
    await server.start()
    try:
        async with connected(embedded.url) as client:
            config = events_stream(Settings(stream_max_bytes=2**26), shards=SHARDS)
            was_new = await ensure_stream(client.jetstream(), config)
            await client.jetstream().publish("events.acme.invoice.paid", b"{}")
        await server.kill()

        await server.start()

        async with connected(embedded.url) as client:
            is_new = await ensure_stream(client.jetstream(), config)
            kept = await client.jetstream().get_msg("EVENTS", 1)
    finally:
        await server.stop()
    assert (was_new, is_new) == (True, False)
    assert kept.subject is not None
    assert kept.subject.startswith("shard.")
    assert kept.subject.endswith(".acme.invoice.paid")


async def test_nats_lets_nobody_in_without_the_password(services: Services) -> None:
    bare = services.nats_url.replace(
        services.nats_url.partition("//")[2].partition("@")[0] + "@", ""
    )
    client = Client()

    async def quiet(_: Exception) -> None:
        pass

    with pytest.raises(Exception, match="Authorization"):
        await client.connect(bare, allow_reconnect=False, error_cb=quiet)
    await client.close()


async def test_a_stream_is_brought_to_its_settings(bus: Client, stream: str) -> None:
    settings = Settings(stream_max_bytes=2**27, stream_max_age_days=1)

    await ensure_stream(bus.jetstream(), events_stream(settings, shards=SHARDS))

    found = (await bus.jetstream().stream_info(stream)).config
    assert (found.max_bytes, found.max_age) == (2**27, 86_400)


async def test_a_stream_too_large_for_the_disk_is_one_line(bus: Client) -> None:
    config = events_stream(Settings(stream_max_bytes=2**50), shards=SHARDS)

    with pytest.raises(StartFault, match="NATS refuses the stream EVENTS"):
        await ensure_stream(bus.jetstream(), config)

    with pytest.raises(NotFoundError):
        await bus.jetstream().stream_info("EVENTS")


async def test_each_test_has_a_database_of_its_own(
    services: Services, database: str, pool: Pool
) -> None:
    async with services.database() as other:
        link = await asyncpg.connect(other)
        await link.execute("CREATE TABLE mine ()")
        await link.close()

        found = await pool.fetchval("SELECT to_regclass('mine')")

    assert found is None
    assert other != database
    assert await pool.fetchval("SELECT count(*) FROM shard") == SHARDS


def test_the_kept_address_of_nats_is_private(home: Home) -> None:
    asyncio.run(prepare_nats(home, **SMALL, notes=[], ports=()))

    assert json.loads((home.run / "nats.json").read_text()).keys() == {"port", "password"}
    assert (home.run / "nats.json").stat().st_mode & 0o777 == 0o600
