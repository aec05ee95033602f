"""Apps, described."""

from typing import Final

from gateway.common import MAX_RATE, MAX_UID
from gateway.openapi.describe import NOTHING, PAGE, Resource, Said, done, flag
from gateway.openapi.shape import (
    NUMBER,
    TEXT,
    TIME,
    Shape,
    about,
    many,
    maybe,
    named,
    number,
    old,
    page_of,
    ref,
    text,
    thing,
    whole,
)
from schema.event import UID_PATTERN
from schema.mail import MOST_ADDRESSES, MOST_CHARS
from schema.retry import MAX_ATTEMPTS, MAX_WAIT_S

_ALL: Final = "/api/v1/app"
_ONE: Final = f"{_ALL}/{{app_id}}"

UID: Final = about(
    maybe(text(least=1, most=MAX_UID, pattern=UID_PATTERN)), "The caller's own name for it."
)
RATE: Final = about(maybe(whole(1, MAX_RATE)), "Deliveries in a second, at most.")
METADATA: Final = named()
WAITS: Final = about(
    maybe(many(number(0, MAX_WAIT_S), most=MAX_ATTEMPTS - 1)),
    "Seconds to wait before each retry; null is the policy of the next level.",
)
POLICY: Final[Shape] = {
    "description": f"{WAITS['description']} Or how they grow.",
    "anyOf": [
        {name: value for name, value in WAITS.items() if name != "description"},
        thing(
            {},
            {
                "base": number(0, MAX_WAIT_S),
                "factor": NUMBER,
                "cap": number(0, MAX_WAIT_S),
                "attempts": whole(1, MAX_ATTEMPTS),
            },
        ),
    ],
}
_EMAIL: Final = about(
    maybe(text(most=MOST_CHARS)), f"Up to {MOST_ADDRESSES} addresses, with commas."
)
_MAY: Final = {
    "uid": UID,
    "throttleRate": RATE,
    "rateLimit": old(maybe(whole(1, MAX_RATE)), "throttleRate"),
    "metadata": METADATA,
    "retryPolicy": POLICY,
}
_NAME: Final = text(least=1)

APPLICATION: Final = Resource(
    tag="Application",
    about="Apps: the customers of your product, each with endpoints of its own.",
    shapes={
        "ApplicationOut": thing(
            {
                "id": TEXT,
                "uid": maybe(TEXT),
                "name": TEXT,
                "throttleRate": RATE,
                "rateLimit": old(maybe(whole()), "throttleRate"),
                "metadata": METADATA,
                "retryPolicy": WAITS,
                "createdAt": TIME,
                "updatedAt": TIME,
            }
        ),
        "ApplicationIn": thing({"name": _NAME}, _MAY),
        "AlertEmail": thing({"email": maybe(TEXT)}),
        "AlertEmailPatch": thing({}, {"email": _EMAIL}),
        "ApplicationPatch": thing({}, {"name": _NAME, **_MAY}),
    },
    operations={
        f"GET {_ALL}": Said(
            id="v1.application.list",
            summary="List the apps.",
            query=(
                *PAGE,
                flag("exclude_apps_with_no_endpoints"),
                flag("exclude_apps_with_disabled_endpoints"),
                flag("exclude_apps_with_svix_play_endpoints"),
            ),
            answers=done(page_of("ApplicationOut")),
        ),
        f"POST {_ALL}": Said(
            id="v1.application.create",
            summary="Make an app; with `get_if_exists`, give the one that has the uid.",
            query=(flag("get_if_exists"),),
            body=ref("ApplicationIn"),
            answers={200: ref("ApplicationOut"), 201: ref("ApplicationOut")},
        ),
        f"GET {_ONE}": Said(
            id="v1.application.get", summary="Give an app.", answers=done(ref("ApplicationOut"))
        ),
        f"PUT {_ONE}": Said(
            id="v1.application.upsert",
            summary="Replace an app, or make one.",
            body=ref("ApplicationIn"),
            answers={200: ref("ApplicationOut"), 201: ref("ApplicationOut")},
        ),
        f"PATCH {_ONE}": Said(
            id="v1.application.patch",
            summary="Change what the body names; null clears.",
            body=ref("ApplicationPatch"),
            answers=done(ref("ApplicationOut")),
        ),
        f"GET {_ONE}/alert-email": Said(
            id="v1.application.get-alert-email",
            summary="Give where mails about an app's endpoints go.",
            answers=done(ref("AlertEmail")),
        ),
        f"PATCH {_ONE}/alert-email": Said(
            id="v1.application.patch-alert-email",
            summary="Say where mails about an app's endpoints go; null: where its metadata say.",
            body=ref("AlertEmailPatch"),
            answers=NOTHING,
        ),
        f"DELETE {_ONE}": Said(
            id="v1.application.delete",
            summary="Delete an app with its endpoints, their secrets, and its keys.",
            answers=NOTHING,
        ),
    },
)
