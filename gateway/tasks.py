"""Makes tasks, finds and shows them. Dispatchers do them; the ring has them look at once.

A task is shown as

    id, appId (null: of all of the environment), kind
    state           scheduled, running, paused, finished, failed or cancelled; `why`
    jobId           the caller's own name
    total           how many there were to do when it began; null where nobody knows
    totalAtLeast    whether there may be more
    items           how many were chosen by now
    open            sent, and not ended yet; `retrying` of them failed before
    delivered, failed, skipped, done
    percent         of the total, how many are over; null where nobody knows
    plan            what was asked for
    startAt, startedAt, endedAt, createdAt, createdBy, updatedAt

and alone also with `itemsPerSecond`, `etaSeconds` and `stoppedAt`, the endpoints that get no more.
"""

import re
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from starlette.requests import Request

from gateway import ring, trail
from gateway.auth import Caller
from gateway.parts import Parts
from gateway.window import is_key
from schema import ids
from schema.app import App
from schema.errors import Conflict, NotFound
from schema.store import task as store
from schema.store.dead_letter import Filter
from schema.store.link import Link
from schema.store.task import Pace
from schema.task import ENDED, Part, Plan, Publication, Task, TaskKind, TaskState

KIND: Final = "Task"
_SNAKE: Final = re.compile(r"_([a-z])")


def draft(
    given: Parts,
    caller: Caller,
    app: App | None,
    kind: TaskKind,
    plan: Plan,
    *,
    job_id: str | None = None,
    start_at: datetime | None = None,
) -> Task:
    """Put a task together, which is not stored yet; within an app, job ids are the app's own."""
    now = given.clock()
    job = job_id if app is None or job_id is None else f"{app.id}.{job_id}"
    return Task(
        environment_id=caller.environment_id,
        id=ids.new_id(ids.TASK, now),
        app_id=None if app is None else app.id,
        kind=kind,
        state=TaskState.SCHEDULED,
        plan=plan,
        job_id=job,
        created_at=now,
        created_by=caller.key_id,
        start_at=now if start_at is None else max(now, start_at),
        updated_at=now,
    )


async def make(given: Parts, caller: Caller, task: Task) -> Task:
    """Store a task, or give the one that was made of the same job; dispatchers are rung.

    Raises:
        Conflict: The same job is another task.
    """
    async with given.transaction() as link:
        ident = await store.create(link, task)
        if ident == task.id:
            told = {"reason": task.plan.reason} if task.plan.reason else {}
            if task.app_id is not None:
                told["app"] = task.app_id
            if task.plan.endpoint_id is not None:
                told["endpoint"] = task.plan.endpoint_id
            await trail.note(link, given, caller, "task.create", ident, kind=task.kind, **told)
        made = await store.by_id(link, task.environment_id, ident)
    if made is None:  # pruned at this moment
        raise NotFound(KIND)
    if (made.app_id, made.kind, made.plan) != (task.app_id, task.kind, task.plan):
        raise Conflict("This jobId is that of another task.")
    if ident == task.id:
        await ring.ring_tasks(given)
    return made


async def find(link: Link, request: Request, caller: Caller, app: App | None) -> Task:
    """Find the task that a path names; within an app, it is one of the app's.

    Raises:
        NotFound: There is none such.
    """
    ident: str = request.path_params["task_id"]
    found = None
    if is_key(ids.TASK, ident):
        found = await store.by_id(link, caller.environment_id, ident)
    if found is None or (app is not None and found.app_id != app.id):
        raise NotFound(KIND)
    return found


def show(task: Task) -> dict[str, object]:
    """Give what lists show of a task."""
    return {
        "id": task.id,
        "appId": task.app_id,
        "kind": task.kind,
        "state": task.state,
        "why": task.why,
        "jobId": _job(task),
        "total": task.total,
        "totalAtLeast": task.total is not None and not task.total_exact,
        "items": task.items,
        "open": task.open,
        "retrying": task.retrying,
        "delivered": task.delivered,
        "failed": task.failed,
        "skipped": task.skipped,
        "done": task.done,
        "percent": _percent(task),
        "plan": _show_plan(replace(task.plan, letter_ids=None)),
        "startAt": task.start_at,
        "startedAt": task.started_at,
        "endedAt": task.ended_at,
        "createdAt": task.created_at,
        "createdBy": task.created_by,
        "updatedAt": task.updated_at,
    }


def show_whole(task: Task, pace: Pace, stopped: list[Part], now: datetime) -> dict[str, object]:
    """Give all that is shown of a task."""
    per_s = items_per_s(task, pace, now)
    return show(task) | {
        "plan": _show_plan(task.plan),
        "itemsPerSecond": None if per_s is None else round(per_s, 3),
        "etaSeconds": eta_s(task, per_s),
        "stoppedAt": [
            {
                "appId": part.app_id,
                "endpointId": part.endpoint_id,
                "why": part.why,
                "sent": part.sent,
                "tried": part.tried,
                "missed": part.missed,
            }
            for part in stopped
        ],
    }


def items_per_s(task: Task, pace: Pace, now: datetime) -> float | None:
    """Say how many items are over in a second: of the newest, or of all once it has ended."""
    if task.ended_at is not None and task.started_at is not None:
        took_s = (task.ended_at - task.started_at).total_seconds()
        return (task.items - task.open) / took_s if took_s > 0 else None
    if pace.since is None:
        return None
    took_s = (now - pace.since).total_seconds()
    return pace.items / took_s if took_s > 0 else None


def eta_s(task: Task, per_s: float | None) -> float | None:
    """Say in how many seconds a task will have ended; None if nobody knows."""
    if task.state in ENDED:
        return 0.0
    if task.state is not TaskState.RUNNING or not per_s:
        return None
    if task.total is None or not task.total_exact:
        return None
    return round(max(task.total - (task.items - task.open), 0) / per_s, 1)


def _percent(task: Task) -> float | None:
    if task.state is TaskState.FINISHED:
        return 100.0
    if task.total is None or not task.total_exact:
        return None
    if not task.total:
        return 0.0
    return min(round(100 * (task.items - task.open) / task.total, 1), 100.0)


def _job(task: Task) -> str | None:
    if task.job_id is None or task.app_id is None:
        return task.job_id
    return task.job_id.removeprefix(f"{task.app_id}.")


def _show_plan(plan: Plan) -> dict[str, object]:
    """Show what was asked for, by the names of the request; what was not is left out."""
    shown: dict[str, Any] = {
        "filter": None if plan.letters is None else _show_filter(plan.letters),
        "letterIds": plan.letter_ids,
        "endpointId": plan.endpoint_id,
        "appIds": plan.app_ids,
        "since": plan.since,
        "until": plan.until,
        "eventTypes": plan.event_types,
        "channel": plan.channel,
        "tag": plan.tag,
        "statusCodes": plan.statuses,
        "deliveryStates": plan.delivery_states,
        "toEndpointId": plan.to_endpoint_id,
        "order": "newest" if plan.newest_first else "oldest",
        "rate": plan.rate_per_s,
        "concurrency": plan.concurrency,
        "probe": plan.probe,
        "stopPercent": plan.stop_percent,
        "retry": plan.retry,
        "reason": plan.reason or None,
        "publication": _show_publication(plan.publication),
    }
    return {name: value for name, value in shown.items() if value is not None}


def _show_publication(what: Publication | None) -> dict[str, object] | None:
    """Show what is published, but for the payload."""
    return None if what is None else {"eventType": what.event_type, "eventId": what.event_id}


def _show_filter(wanted: Filter) -> dict[str, object]:
    written = {"states": list(wanted.states)} | wanted.to_json()
    del written["environment_id"]
    return {_SNAKE.sub(lambda m: m[1].upper(), name): value for name, value in written.items()}
