"""Tells operators that a task has ended, in the transaction of its end."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from schema.operational import Kind
from schema.store import operational
from schema.store import task as store
from schema.store.link import Link
from schema.task import MOST_NAMED, Task, TaskKind, TaskState, messages_of, numbers_of

_MOST_BYTES: Final = 65_536  # of a result that is told; a larger one is asked for


async def tell(
    link: Link, task: Task, state: TaskState, result: Mapping[str, Any] | None = None
) -> None:
    """Tell it in Svix's words; `result` is of tasks that only count."""
    told: Mapping[str, Any] = {}
    if result is None:
        found = await store.by_id(link, task.environment_id, task.id)
        told = numbers_of(found) if found else {}
    if task.kind is TaskKind.BROADCAST:
        items = await store.items(link, task.id, limit=MOST_NAMED)
        result = {**told, **messages_of(items)}
    if result is not None and len(orjson.dumps(result)) <= _MOST_BYTES:
        told = result
    await operational.note(
        link,
        environment_id=task.environment_id,
        app_id=task.app_id,
        kind=Kind.TASK_FINISHED,
        key=task.id,
        data={"taskId": task.id, "task": task.kind, "status": state, "data": told},
    )
