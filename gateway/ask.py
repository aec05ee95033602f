"""Asks a dispatcher, over NATS, to do at once what a gateway does not: it never calls out."""

from collections.abc import Mapping
from typing import Any

import nats.errors
import orjson

from gateway.parts import Parts
from schema.errors import BadState, Unavailable


async def ask(
    given: Parts, subject: str, question: Mapping[str, object], *, wait_s: float
) -> dict[str, Any]:
    """Give what a dispatcher answers.

    Raises:
        BadState: None runs, or none answers in time.
        Unavailable: NATS is away.
    """
    try:
        said = await given.bus.request(subject, orjson.dumps(question), timeout=wait_s)
    except nats.errors.NoRespondersError:
        msg = "No dispatcher runs that could do this now."
        raise BadState(msg, code="no_dispatcher") from None
    except (nats.errors.TimeoutError, TimeoutError):
        msg = "No dispatcher answered in time."
        raise BadState(msg, code="no_dispatcher") from None
    except (nats.errors.Error, OSError) as error:
        part = "NATS"
        raise Unavailable(part) from error
    answer: dict[str, Any] = orjson.loads(said.data)
    return answer
