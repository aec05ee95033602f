"""A delivery that is given up is parked whole, and kept as long as the operator says."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from dispatcher.upkeep import LETTERS, Upkeep
from schema import ids
from schema.dead_letter import LETTER_MOVES, LetterState
from schema.delivery import Fault, Outcome, Reason, State
from schema.endpoint import secret_context
from schema.store import dead_letter
from schema.store.link import Pool
from schema.store.settle import Settlement
from tests import rows
from tests.dispatching import VAULT, World, now
from tests.settling import URL, owned_world, settle, settlement, with_outcome

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await owned_world(pool)


def given_up(
    app_id: str, endpoint_id: str, message_id: str, outcome: Outcome | None, reason: Reason
) -> Settlement:
    made = settlement(
        app_id, endpoint_id, message_id, State.DEAD, attempts=3, failures=3, reason=reason
    )
    return made._replace(attempt=None) if outcome is None else with_outcome(made, outcome)


async def park(pool: Pool, *batch: Settlement, run: int | None = None) -> None:
    await settle(pool, *(one if run is None else one._replace(run=run) for one in batch))


async def test_a_letter_has_all_that_was_sent_but_what_is_secret(world: World, pool: Pool) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, "http://127.0.0.1:9/now")
    sealed = VAULT.seal(b'{"X-Key":"1"}', context=secret_context(app_id, endpoint_id))
    await pool.execute("UPDATE endpoint SET headers = $2 WHERE id = $1", endpoint_id, sealed)
    (message_id,) = await world.owe(app_id, endpoint_id, body=b'{ "a": 1.50 }')
    outcome = Outcome(status=500, body=b"request 17 failed")

    await park(pool, given_up(app_id, endpoint_id, message_id, outcome, Reason.EXHAUSTED))

    (letter,) = await world.letters()
    assert letter["environment_id"] == world.environment_id
    assert (letter["message_id"], letter["payload"]) == (message_id, b'{ "a": 1.50 }')
    assert (letter["url"], letter["content_type"]) == (URL, "application/json")
    assert (letter["reason"], letter["error_class"]) == ("exhausted", "http_5xx")
    assert (letter["status"], letter["response"]) == (500, b"request 17 failed")
    assert (letter["attempts"], letter["last_attempt_id"]) == (
        3, (await world.attempts())[0]["id"],
    )  # fmt: skip
    assert letter["headers"] == sealed


@pytest.mark.parametrize(
    ("outcome", "reason", "kind"),
    [
        (Outcome(status=302), Reason.EXHAUSTED, "http_3xx"),
        (Outcome(status=404), Reason.EXHAUSTED, "http_4xx"),
        (Outcome(status=410), Reason.GONE, "gone"),
        (Outcome(status=500), Reason.ABORTED, "aborted"),
        (Outcome(fault=Fault.TLS, detail="no"), Reason.EXHAUSTED, "tls"),
        (None, Reason.ENDPOINT_DISABLED, "endpoint_disabled"),
        (None, Reason.ENDPOINT_DELETED, "endpoint_deleted"),
        (None, Reason.EXPIRED, "expired"),
    ],
)
async def test_a_group_is_of_the_class_of_its_letters(
    world: World, pool: Pool, outcome: Outcome | None, reason: Reason, kind: str
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, "http://127.0.0.1:9/")
    messages = await world.owe(app_id, endpoint_id, 3)

    await park(pool, *(given_up(app_id, endpoint_id, m, outcome, reason) for m in messages))

    (group,) = await pool.fetch("SELECT * FROM dead_letter_group")
    assert (group["error_class"], group["parked"], group["total"]) == (kind, 3, 3)
    assert group["environment_id"] == world.environment_id
    assert {letter["error_class"] for letter in await world.letters()} == {kind}
    (hour,) = await pool.fetch("SELECT * FROM dead_letter_hour")
    assert (hour["group_id"], hour["parked"]) == (group["id"], 3)


async def test_a_letter_that_arrives_resolves_its_group_and_one_that_dies_again_opens_it(
    world: World, pool: Pool
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, "http://127.0.0.1:9/")
    (message_id,) = await world.owe(app_id, endpoint_id)
    dead = given_up(app_id, endpoint_id, message_id, Outcome(status=500), Reason.EXHAUSTED)
    seen = []

    for state in (State.DEAD, State.DELIVERED, State.DEAD):
        await pool.execute("UPDATE dead_letter SET state = 'redelivering', updated_at = now()")
        await pool.execute("UPDATE delivery SET state = 'pending', due_at = now()")
        attempt = dead.attempt
        assert attempt is not None
        again = attempt._replace(id=ids.new_id(ids.ATTEMPT, now()))
        await park(pool, dead._replace(state=state, attempt=again), run=1)
        (group,) = await pool.fetch("SELECT state, parked, total FROM dead_letter_group")
        seen.append(tuple(group))

    assert seen == [("open", 1, 1), ("resolved", 0, 1), ("open", 1, 2)]


async def test_batches_of_several_owners_count_into_the_same_groups(
    world: World, pool: Pool
) -> None:
    made = []
    for _ in range(4):
        app_id = await world.app()
        endpoint_id = await world.endpoint(app_id, "http://127.0.0.1:9/")
        made += [(app_id, endpoint_id, m) for m in await world.owe(app_id, endpoint_id, 20)]
    outcomes = [Outcome(status=500), Outcome(status=404), Outcome(fault=Fault.DNS, detail="no")]
    batch = [
        given_up(*keys, outcomes[n % 3], Reason.EXHAUSTED) for n, keys in enumerate(made)
    ]  # fmt: skip

    await asyncio.gather(*(park(pool, *batch[n::4]) for n in range(4)))

    counted = await pool.fetch("SELECT group_id, count(*) FROM dead_letter GROUP BY 1 ORDER BY 1")
    kept = await pool.fetch("SELECT id, parked FROM dead_letter_group ORDER BY 1")
    assert [tuple(row) for row in counted] == [tuple(row) for row in kept]
    assert len(kept) == 12


async def move(pool: Pool, letter: "asyncpg.Record", how: str) -> None:
    """Do to a letter what a statement of the store does."""
    app_id, message_id, endpoint_id = (
        letter["app_id"], letter["message_id"], letter["endpoint_id"],
    )  # fmt: skip
    if how in {"park", "arrive"}:
        await pool.execute("UPDATE delivery SET state = 'pending', due_at = now()")
        dead = given_up(app_id, endpoint_id, message_id, None, Reason.EXHAUSTED)
        state = State.DEAD if how == "park" else State.DELIVERED
        await park(pool, dead._replace(state=state), run=1)
        return
    async with pool.acquire() as link:
        if how == "redeliver":
            await dead_letter.redeliver(link, app_id, letter["id"], now())
        elif how == "resend":
            await dead_letter.redeliver_of(link, app_id, message_id, endpoint_id, now())
        elif how == "discard":
            await dead_letter.discard(link, app_id, letter["id"], now())
        else:
            await dead_letter.park_cancelled(link, app_id, message_id, now())


async def test_every_statement_makes_only_moves_that_are_allowed(world: World, pool: Pool) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, "http://127.0.0.1:9/")
    (message_id,) = await world.owe(app_id, endpoint_id)
    await park(pool, given_up(app_id, endpoint_id, message_id, None, Reason.EXHAUSTED))
    made = set[tuple[LetterState, LetterState]]()

    for old in LetterState:
        for how in ("park", "arrive", "redeliver", "resend", "discard", "call off"):
            await pool.execute("UPDATE dead_letter SET state = $1", old)
            (letter,) = await world.letters()
            await move(pool, letter, how)
            made.add((old, LetterState((await world.letters())[0]["state"])))

    moved = {(old, new) for old, new in made if old is not new}
    assert moved == {(old, new) for old, after in LETTER_MOVES.items() for new in after}


class TestKeeping:
    async def test_letters_are_dropped_when_nothing_was_done_to_them_for_long(
        self, world: World, pool: Pool
    ) -> None:
        app_id = await world.app()
        endpoint_id = await world.endpoint(app_id, "http://127.0.0.1:9/")
        old, new = TODAY - timedelta(days=21), TODAY - timedelta(days=19)
        kept = set()
        async with pool.acquire() as link:
            for n, state in enumerate(("parked", "redelivering", "redelivered", "discarded")):
                for at in (old, new):
                    message_id = await rows.message(link, app_id, at)
                    ident = await rows.letter(
                        link, app_id, message_id, endpoint_id, at, state=state,
                        fingerprint=f"{n:016x}",
                    )  # fmt: skip
                    if at == new or state == "redelivering":
                        kept.add(ident)

        await upkeep(pool).once()

        assert {letter["id"] for letter in await world.letters()} == kept

    async def test_a_group_goes_with_the_last_of_its_letters(
        self, world: World, pool: Pool
    ) -> None:
        app_id = await world.app()
        endpoint_id = await world.endpoint(app_id, "http://127.0.0.1:9/")
        old = TODAY - timedelta(days=21)
        async with pool.acquire() as link:
            for n in range(2):
                message_id = await rows.message(link, app_id, old)
                await rows.letter(
                    link, app_id, message_id, endpoint_id, old, fingerprint=f"{n:016x}",
                    updated_at=old if n else TODAY,
                )  # fmt: skip

        await upkeep(pool).once()

        (group,) = await pool.fetch("SELECT * FROM dead_letter_group")
        assert (group["fingerprint"], group["parked"]) == (f"{0:016x}", 1)
        assert await pool.fetchval("SELECT count(*) FROM dead_letter_hour") == 0

    async def test_more_than_a_transaction_drops_go_all_the_same(
        self, world: World, pool: Pool
    ) -> None:
        old = TODAY - timedelta(days=21)
        await pool.execute(
            """INSERT INTO dead_letter
                   (app_id, id, message_id, endpoint_id, reason, event_type, content_type, url,
                    fingerprint, attempts, message_at, parked_at, updated_at)
               SELECT 'app_1', 'dl_' || n, 'msg_' || n, 'ep_1', 'exhausted', 'a', 'x', 'u', 'f', 1,
                      $2, $2, $2 FROM generate_series(1, $1) AS n""",
            2 * LETTERS + 10, old,
        )  # fmt: skip

        await upkeep(pool).once()

        assert await world.letters() == []
        assert await pool.fetchval("SELECT count(*) FROM dead_letter_group") == 0


def upkeep(pool: Pool) -> Upkeep:
    return Upkeep(
        pool=pool, clock=lambda: TODAY, retention_days=10, dead_letter_retention_days=20
    )  # fmt: skip
