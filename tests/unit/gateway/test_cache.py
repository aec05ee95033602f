"""The caches' memory: bounded, dropped by group, never older than a change."""

from gateway.cache import Cache


def cache(size: int = 10) -> Cache[str, int]:
    made: Cache[str, int] = Cache(size=size, lifetime_s=60.0, deaf_lifetime_s=-1.0)
    made.hears = True
    return made


def test_a_group_leaves_together() -> None:
    known = cache()
    for key, group in (("a", "g"), ("b", "g"), ("c", "h")):
        known.put(key, 1, group=group, mark=known.mark())

    known.drop("g")

    assert [known.get(key) for key in "abc"] == [None, None, 1]


def test_what_was_read_before_a_change_is_not_kept_after_it() -> None:
    known = cache()
    mark = known.mark()
    known.drop("g")

    known.put("a", 1, group="g", mark=mark)

    assert known.get("a") is None


def test_a_full_cache_forgets_the_oldest() -> None:
    known = cache(size=2)

    for key in "abc":
        known.put(key, 1, group=key, mark=known.mark())

    assert [known.get(key) for key in "abc"] == [None, 1, 1]
    assert len(known) == 2


def test_a_deaf_cache_believes_nothing_old() -> None:
    known = cache()
    known.put("a", 1, group="g", mark=known.mark())

    known.hears = False

    assert known.get("a") is None


def test_a_key_that_moves_to_another_group_stays_with_it() -> None:
    known = cache()
    known.put("a", 1, group="g", mark=known.mark())
    known.put("a", 2, group="h", mark=known.mark())

    known.drop("g")

    assert known.get("a") == 2
