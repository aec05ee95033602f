"""The stream that events come in by: what it is like, and how it is made and kept so."""

from typing import Final

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, SubjectTransform
from nats.js.errors import APIError, NotFoundError

from deploy.faults import StartFault
from deploy.settings import Settings
from schema.event import SHARD_ROOT, STREAM, SUBJECT_ROOT

_DAY_S: Final = 86_400


def events_stream(
    settings: Settings, *, shards: int, name: str = STREAM, root: str = SUBJECT_ROOT
) -> StreamConfig:
    """Describe the stream: events by shard of their app, on disk, for days, batches whole.

    Args:
        settings: How much and how long it keeps, and how long it knows a repeated id.
        shards: As many as the database was made with.
        name: Of the stream.
        root: What the subjects that it takes begin with.
    """
    return StreamConfig(
        name=name,
        subjects=[f"{root}.>"],
        subject_transform=SubjectTransform(
            src=f"{root}.*.>",
            dest=f"{SHARD_ROOT}.{{{{partition({shards},1)}}}}.{{{{wildcard(1)}}}}.>",
        ),
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,  # a full stream refuses; it never drops what it took
        max_age=settings.stream_max_age_days * _DAY_S,
        max_bytes=settings.stream_max_bytes,
        duplicate_window=settings.duplicate_window_s,
        allow_direct=True,
        allow_atomic=True,
    )


async def ensure_stream(jetstream: JetStreamContext, config: StreamConfig) -> bool:
    """Make the stream, or change it to what is wanted; gives whether it is new.

    Raises:
        StartFault: NATS refuses, for example because the disk that it may use is too small.
    """
    name = str(config.name)
    try:
        try:
            await jetstream.stream_info(name)
        except NotFoundError:
            await jetstream.add_stream(config)
            return True
        await jetstream.update_stream(config)
    except APIError as error:
        raise StartFault(f"NATS refuses the stream {name}: {error.description}") from error
    except (NatsError, OSError, TimeoutError) as error:
        raise StartFault(f"NATS does not answer for the stream {name}: {error!r}") from error
    return False
