"""Settling without a dispatcher: shards that nobody else takes, and outcomes to write."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from schema import ids
from schema.delivery import OWED, Outcome, Reason, State, Trigger
from schema.store import settle as store
from schema.store.link import Pool
from schema.store.settle import AttemptRow, Settlement
from tests.dispatching import World, new_world, now
from tests.services import SHARDS

OWNER = "d1"
URL = "http://127.0.0.1:9/then"  # where attempts went
EPOCHS = dict.fromkeys(range(SHARDS), 1)
LATER = datetime.now(UTC) + timedelta(hours=1)


async def owned_world(pool: Pool) -> World:
    """Give a world of which `OWNER` holds every shard."""
    await pool.execute("UPDATE shard SET owner = $1, epoch = 1", OWNER)
    return await new_world(pool)


def settlement(
    app_id: str, endpoint_id: str, message_id: str, state: State, **changes: object
) -> Settlement:
    """Give what the first attempt of a delivery came to."""
    status, word = {
        State.DELIVERED: (204, "delivered"),
        State.RETRYING: (500, "retry"),
        State.DEAD: (500, "park"),
    }[state]
    made = Settlement(
        app_id=app_id,
        message_id=message_id,
        endpoint_id=endpoint_id,
        state=state,
        attempts=1,
        failures=int(state is not State.DELIVERED),
        run=0,
        due_at=LATER if state in OWED else None,
        reason=Reason.EXHAUSTED if state is State.DEAD else None,
        attempt=AttemptRow(
            id=ids.new_id(ids.ATTEMPT, now()),
            event_type="a.b",
            trigger=Trigger.SCHEDULED,
            verdict=word,
            url=URL,
            started_at=now(),
            outcome=Outcome(status=status, body=b"ok", duration_ms=7),
        ),
    )
    return made._replace(**changes)  # type: ignore[arg-type]


def with_outcome(made: Settlement, outcome: Outcome) -> Settlement:
    assert made.attempt is not None
    return made._replace(attempt=made.attempt._replace(outcome=outcome))


async def settle(
    pool: Pool,
    *batch: Settlement,
    epochs: dict[int, int] = EPOCHS,
    told: Collection[str] = (),
    traces: bool = False,
    mail_pause_s: float | None = None,
) -> Sequence[Settlement]:
    """Write them as `OWNER`; give those that moved a delivery."""
    letters = [ids.new_id(ids.DEAD_LETTER, now()) for _ in batch]
    async with pool.acquire() as link:
        return await store.settle(
            link,
            OWNER,
            epochs,
            batch,
            now=now(),
            letter_ids=letters,
            told=told,
            traces=traces,
            mail_pause_s=mail_pause_s,
        )
