from typing import Any

from deploy.client import svix

ENDPOINT: dict[str, Any] = {"id": "ep_1", "uid": None, "url": "https://example.com/"}


def test_fields_of_both_versions_are_read_and_the_newer_counts() -> None:
    old = svix.endpoint({**ENDPOINT, "filterTypes": ["b", "a"], "rateLimit": 5})
    new = svix.endpoint({**ENDPOINT, "eventTypes": ["b", "a"], "throttleRate": 5, "rateLimit": 9})

    assert old == new
    assert (new["eventTypes"], new["throttleRate"]) == (["a", "b"], 5)
    assert svix.event_type({"name": "a", "featureFlag": "beta"})["featureFlags"] == ["beta"]


def test_what_is_absent_is_as_if_it_were_empty() -> None:
    assert svix.endpoint(ENDPOINT) == {
        "uid": "svix-ep_1", "url": "https://example.com/", "description": "", "eventTypes": None,
        "channels": None, "throttleRate": None, "disabled": False, "metadata": {},
    }  # fmt: skip


def test_a_uid_is_kept() -> None:
    assert svix.app({"id": "app_1", "uid": "acme", "name": "Acme"})["uid"] == "acme"
