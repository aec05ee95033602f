"""Tasks, and Svix's background tasks, described."""

from collections.abc import Iterator
from typing import Final

from gateway.openapi.describe import PAGE, Parameter, Resource, Said, choice, choices, done
from gateway.openapi.shape import (
    COUNT,
    DOCUMENT,
    FLAG,
    TEXT,
    TIME,
    about,
    many,
    maybe,
    number,
    page_of,
    ref,
    text,
    thing,
    whole,
    word,
)
from gateway.routes.background_task import ALL as BACKGROUND
from gateway.routes.background_task import KINDS, STATUSES
from gateway.routes.background_task import ONE as BACKGROUND_ONE
from gateway.routes.endpoint import ONE as ENDPOINT
from gateway.routes.task import ALL, EVERYWHERE
from gateway.status import Status
from schema.event import CHANNEL_PATTERN, EVENT_TYPE_PATTERN, TAG_PATTERN, UID_PATTERN
from schema.task import ItemState, TaskKind, TaskState

_SPAN: Final = ({"since": TIME}, {"until": maybe(TIME)})
_TASK: Final = {
    "id": TEXT,
    "appId": about(maybe(TEXT), "Null: of all of the environment."),
    "kind": word(TaskKind),
    "state": word(TaskState),
    "why": TEXT,
    "jobId": maybe(TEXT),
    "total": maybe(COUNT),
    "totalAtLeast": FLAG,
    "items": about(COUNT, "How many were chosen by now."),
    "open": about(COUNT, "Sent, and not ended yet."),
    "retrying": COUNT,
    "delivered": COUNT,
    "failed": COUNT,
    "skipped": COUNT,
    "done": about(COUNT, "Discarded or purged."),
    "percent": maybe(number(0, 100)),
    "plan": about(DOCUMENT, "What was asked for."),
    "startAt": TIME,
    "startedAt": maybe(TIME),
    "endedAt": maybe(TIME),
    "createdAt": TIME,
    "createdBy": maybe(TEXT),
    "updatedAt": TIME,
}
_STOPPED: Final = thing(
    {
        "appId": maybe(TEXT),
        "endpointId": maybe(TEXT),
        "why": TEXT,
        "sent": COUNT,
        "tried": COUNT,
        "missed": COUNT,
    }
)
STARTED: Final = {
    "id": TEXT,
    "status": word(tuple(STATUSES)),
    "task": word(KINDS),
    "updatedAt": TIME,
}
_MOVES: Final = {
    "pause": "Choose no more until it is resumed.",
    "resume": "Go on.",
    "cancel": "End it; what was not chosen stays as it is.",
}


def _of(root: str, prefix: str, query: tuple[Parameter, ...]) -> Iterator[tuple[str, Said]]:
    one = f"{root}/{{task_id}}"
    yield (
        f"GET {root}",
        Said(
            id=f"{prefix}.list",
            summary="List the tasks, newest first.",
            query=(
                *PAGE,
                choices("state", tuple(TaskState)),
                choices("kind", tuple(TaskKind)),
                *query,
            ),
            answers=done(page_of("Task")),
            errors=(404,),
        ),
    )
    yield (
        f"GET {one}",
        Said(
            id=f"{prefix}.get",
            summary="Give a task, with its pace and when it will have ended.",
            answers=done(ref("TaskWhole")),
        ),
    )
    yield (
        f"GET {one}/item",
        Said(
            id=f"{prefix}.list-items",
            summary="List what became of each letter or message.",
            query=(*PAGE, choices("state", tuple(ItemState))),
            answers=done(page_of("TaskItem")),
        ),
    )
    for verb, summary in _MOVES.items():
        yield (
            f"POST {one}/{verb}",
            Said(id=f"{prefix}.{verb}", summary=summary, answers=done(ref("TaskWhole"))),
        )


TASK: Final = Resource(
    tag="Task",
    about="Work on many dead letters or messages that takes a while.",
    shapes={
        "Task": thing(_TASK),
        "TaskWhole": thing(
            {
                **_TASK,
                "itemsPerSecond": maybe(number(0)),
                "etaSeconds": maybe(number(0)),
                "stoppedAt": about(many(_STOPPED), "The endpoints that get no more."),
            }
        ),
        "TaskItem": thing(
            {
                "number": whole(1),
                "appId": TEXT,
                "messageId": TEXT,
                "endpointId": TEXT,
                "letterId": maybe(TEXT),
                "state": word(ItemState),
                "detail": TEXT,
                "at": TIME,
            }
        ),
    },
    operations={
        **dict(_of(ALL, "v1.application.task", ())),
        **dict(
            _of(
                EVERYWHERE,
                "v1.task",
                (Parameter(name="app_id", shape=text(pattern=UID_PATTERN)),),
            )
        ),
    },
)

BACKGROUND_TASK: Final = Resource(
    tag="Background Task",
    about="Recoveries and replays, in Svix's words.",
    shapes={
        "RecoverIn": thing(*_SPAN),
        "ReplayIn": thing(*_SPAN),
        "BulkReplayIn": thing(
            _SPAN[0],
            {
                **_SPAN[1],
                "eventTypes": maybe(many(text(pattern=EVENT_TYPE_PATTERN), least=1)),
                "channel": maybe(text(pattern=CHANNEL_PATTERN)),
                "tag": maybe(text(pattern=TAG_PATTERN)),
                "status": maybe(word(Status)),
                "statusCodeClass": maybe(word((0, 100, 200, 300, 400, 500))),
            },
        ),
        "BackgroundTaskStarted": thing(STARTED),
        "BackgroundTaskOut": thing(
            {
                **STARTED,
                "data": about(
                    DOCUMENT,
                    "`messagesSent`, and the messages that were made; or what was counted.",
                ),
            },
        ),
    },
    operations={
        f"POST {ENDPOINT}/recover": Said(
            id="v1.endpoint.recover",
            summary="Redeliver what an endpoint missed since a time.",
            body=ref("RecoverIn"),
            answers={202: ref("BackgroundTaskStarted")},
        ),
        f"POST {ENDPOINT}/replay-missing": Said(
            id="v1.endpoint.replay-missing",
            summary="Send an endpoint the messages of a time that it never got.",
            body=ref("ReplayIn"),
            answers={202: ref("BackgroundTaskStarted")},
        ),
        f"POST {ENDPOINT}/bulk-replay": Said(
            id="v1.endpoint.bulk-replay",
            summary="Send an endpoint messages of a time again, whatever became of them.",
            body=ref("BulkReplayIn"),
            answers={202: ref("BackgroundTaskStarted")},
        ),
        f"GET {BACKGROUND}": Said(
            id="v1.background-task.list",
            summary="List the recoveries and replays, newest first.",
            query=(*PAGE, choice("status", tuple(STATUSES)), choice("task", KINDS)),
            answers=done(page_of("BackgroundTaskOut")),
        ),
        f"GET {BACKGROUND_ONE}": Said(
            id="v1.background-task.get",
            summary="Give one.",
            answers=done(ref("BackgroundTaskOut")),
        ),
    },
)
