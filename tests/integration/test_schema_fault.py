"""Where payloads went wrong is added up, within bounds."""

from schema.event_type import SchemaMode
from schema.payload_schema import Check, PayloadFault
from schema.store import schema_fault
from schema.store.link import Pool
from schema.store.schema_fault import MOST_PLACES, Tally
from tests.rows import now

CHECK = Check(mode=SchemaMode.WARN, version="1", schema="{}")


def fault(*path: str | int) -> PayloadFault:
    return PayloadFault(path=path, rule="type", detail="it is not so")


async def written(pool: Pool, *faults: PayloadFault, message_id: str | None = None) -> None:
    tally = Tally()
    for one in faults:
        tally.note("org", "a", CHECK, one, message_id)
    async with pool.acquire() as link:
        await tally.write(link, now())
    assert len(tally) == 0


async def places(pool: Pool) -> dict[str, tuple[int, str | None]]:
    async with pool.acquire() as link:
        found = await schema_fault.of_event_type(link, "org", "a")
    return {place.pointer: (place.times, place.message_id) for place in found}


async def test_faults_of_a_place_are_added_up_whatever_their_place_in_a_list(pool: Pool) -> None:
    await written(pool, fault("l", 1), fault("l", 2), fault("b"), message_id="msg_1")

    await written(pool, fault("l", 3), message_id=None)

    assert await places(pool) == {"/l/*": (3, "msg_1"), "/b": (1, "msg_1")}


async def test_places_are_kept_up_to_their_number_and_known_ones_go_on(pool: Pool) -> None:
    await written(pool, *(fault(f"p{n}") for n in range(MOST_PLACES - 1)))

    await written(pool, *(fault(f"q{n}") for n in range(50)), fault("p0"))

    found = await places(pool)
    assert len(found) == MOST_PLACES
    assert found["/p0"][0] == 2


async def test_what_postgres_does_not_take_is_left_out_of_a_place(pool: Pool) -> None:
    await written(pool, fault("a\0b\ud800", "x" * 1000))

    [pointer] = await places(pool)
    assert len(pointer) == 300
    assert "\0" not in pointer
