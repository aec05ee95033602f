"""A tour of Hookline by Svix's SDK for Python, of either version. See acceptance/test_sdk_tours.py.

Prints the id of each message once it is published, and reads what the endpoint got of it from
stdin: `{"headers": {...}, "body": "..."}`. Prints `done` at its end.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from svix import api
from svix.api import Svix, SvixOptions
from svix.exceptions import HttpError, HTTPValidationError
from svix.webhooks import Webhook, WebhookVerificationError

TYPE = "tour.python"
PAYLOAD = {"text": "Zoë · 東京", "number": 1.5}
START = datetime.now(UTC) - timedelta(minutes=1)


def client(key: str) -> Svix:
    return Svix(key, SvixOptions(server_url=os.environ["URL"]))


def main() -> None:
    """Go through it."""
    svix = client(os.environ["KEY"])
    app = an_app(svix)
    an_event_type(svix)
    endpoint = an_endpoint(svix, app)
    message = a_message(svix, app, endpoint)
    again(svix, app, endpoint, message)
    another_secret(svix, app, endpoint)
    numbers(svix, app, endpoint)
    a_recovery(svix, app, endpoint)
    a_portal(svix, app, endpoint)
    errors(svix, app)
    svix.endpoint.delete(app.id, endpoint.id)
    svix.application.delete(app.id)
    print("done", flush=True)


def an_app(svix: Svix) -> Any:
    uid = f"tour-{os.getpid()}"
    app = svix.application.create(api.ApplicationIn(name="Tour", uid=uid))
    assert svix.application.get(uid).id == app.id
    assert svix.application.get_or_create(api.ApplicationIn(name="x", uid=uid)).id == app.id
    patched = svix.application.patch(uid, api.ApplicationPatch(metadata={"plan": "free"}))
    assert patched.metadata == {"plan": "free"}
    listed = svix.application.list(api.ApplicationListOptions(limit=250))
    assert app.id in {one.id for one in listed.data}
    return app


def an_event_type(svix: Svix) -> None:
    if hasattr(svix.event_type, "upsert"):
        svix.event_type.upsert(TYPE, api.EventTypeUpsertIn(description="Of the tour"))
    else:
        svix.event_type.update(TYPE, api.EventTypeUpdate(description="Of the tour"))
    assert svix.event_type.get(TYPE).description == "Of the tour"
    assert TYPE in {one.name for one in svix.event_type.list().data}


def an_endpoint(svix: Svix, app: Any) -> Any:
    given = api.EndpointIn(url=os.environ["TARGET"], uid="e", **of_type())
    endpoint = svix.endpoint.create(app.id, given)
    patched = svix.endpoint.patch(app.id, "e", api.EndpointPatch(description="Tour"))
    assert (patched.id, patched.description) == (endpoint.id, "Tour")
    headers = api.EndpointHeadersIn(headers={"x-tour": "1", "authorization": "Bearer t"})
    if hasattr(svix.endpoint, "set_headers"):
        svix.endpoint.set_headers(app.id, "e", headers)
    else:
        svix.endpoint.update_headers(app.id, "e", headers)
    shown = svix.endpoint.get_headers(app.id, "e")
    assert (shown.headers, shown.sensitive) == ({"x-tour": "1"}, ["authorization"])
    assert [one.id for one in svix.endpoint.list(app.id).data] == [endpoint.id]
    return endpoint


def of_type() -> dict[str, list[str]]:
    """Give the filter by its name in this version."""
    fields = api.EndpointIn.model_fields
    return {"event_types" if "event_types" in fields else "filter_types": [TYPE]}


def a_message(svix: Svix, app: Any, endpoint: Any) -> Any:
    message = publish(svix, app)
    secret = svix.endpoint.get_secret(app.id, endpoint.id).key
    headers, body = delivered(message)
    Webhook(secret).verify(body, headers)
    assert json.loads(body) == PAYLOAD
    assert headers["x-tour"] == "1"
    try:
        Webhook(secret).verify(body + " ", headers)
    except WebhookVerificationError:
        pass
    else:
        raise AssertionError("a body that was changed is accepted")
    whole = api.MessageGetOptions(with_content=True)
    assert svix.message.get(app.id, message.id, whole).payload == PAYLOAD
    assert message.id in {one.id for one in svix.message.list(app.id).data}
    return message


def again(svix: Svix, app: Any, endpoint: Any, message: Any) -> None:
    [attempt] = attempts(svix, app, message, 1)
    assert svix.message_attempt.get(app.id, message.id, attempt.id).response_status_code == 200
    by_endpoint = svix.message_attempt.list_by_endpoint(app.id, endpoint.id).data
    assert attempt.id in {one.id for one in by_endpoint}
    [standing] = svix.message_attempt.list_attempted_destinations(app.id, message.id).data
    assert (standing.id, int(standing.status)) == (endpoint.id, 0)
    tried = svix.message_attempt.list_attempted_messages(app.id, endpoint.id).data
    assert message.id in {one.id for one in tried}
    svix.message_attempt.resend(app.id, message.id, endpoint.id)
    headers, body = delivered(message)
    Webhook(svix.endpoint.get_secret(app.id, "e").key).verify(body, headers)
    attempts(svix, app, message, 2)


def another_secret(svix: Svix, app: Any, endpoint: Any) -> None:
    old = svix.endpoint.get_secret(app.id, endpoint.id).key
    svix.endpoint.rotate_secret(app.id, endpoint.id, api.EndpointSecretRotateIn())
    new = svix.endpoint.get_secret(app.id, endpoint.id).key
    assert new != old
    message = publish(svix, app)
    headers, body = delivered(message)
    for secret in (old, new):
        Webhook(secret).verify(body, headers)
    attempts(svix, app, message, 1)


def numbers(svix: Svix, app: Any, endpoint: Any) -> None:
    def counted() -> bool:
        return svix.endpoint.get_stats(app.id, endpoint.id).success == 3

    until(counted)


def a_recovery(svix: Svix, app: Any, endpoint: Any) -> None:
    begun = svix.endpoint.recover(app.id, endpoint.id, api.RecoverIn(since=START))
    until(lambda: svix.background_task.get(begun.id).status == "finished")
    assert begun.id in {one.id for one in svix.background_task.list().data}


def a_portal(svix: Svix, app: Any, endpoint: Any) -> None:
    access = svix.authentication.app_portal_access(app.id, api.AppPortalAccessIn())
    assert access.url.endswith(access.token)
    portal = client(access.token)
    assert [one.id for one in portal.endpoint.list(app.id).data] == [endpoint.id]
    portal.authentication.logout()
    told = 0
    try:
        portal.endpoint.list(app.id)
    except HttpError as error:
        told = error.status_code
    assert told == 401


def errors(svix: Svix, app: Any) -> None:
    refused = {
        404: lambda: svix.application.get("app_none"),
        409: lambda: svix.application.create(api.ApplicationIn(name="x", uid=app.uid)),
        422: lambda: svix.endpoint.create(app.id, api.EndpointIn(url="ftp://x")),
        501: svix.ingest.source.list,
    }
    for status, ask in refused.items():
        told = 0
        try:
            ask()
        except (HttpError, HTTPValidationError) as error:
            told = error.status_code
        assert told == status


def publish(svix: Svix, app: Any) -> Any:
    return svix.message.create(app.id, api.MessageIn(event_type=TYPE, payload=PAYLOAD))


def delivered(message: Any) -> tuple[dict[str, str], str]:
    """Give what the endpoint got of a message."""
    print(message.id, flush=True)
    told = json.loads(sys.stdin.readline())
    return told["headers"], told["body"]


def attempts(svix: Svix, app: Any, message: Any, number: int) -> list[Any]:
    return until(
        lambda: at_least(svix.message_attempt.list_by_msg(app.id, message.id).data, number)
    )


def at_least(found: list[Any], number: int) -> list[Any] | None:
    return found if len(found) >= number else None


def until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 15
    while not (found := look()):
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.05)
    return found


if __name__ == "__main__":
    main()
