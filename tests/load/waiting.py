"""What cannot be measured, and waiting for what must be so before anything can."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

_LOOK_S: Final = 0.1


class LoadFault(Exception):
    """A measurement cannot be made, or came to nothing."""


async def until(met: Callable[[], Awaitable[bool]], what: str, *, most_s: float) -> None:
    """Wait until something is so.

    Raises:
        LoadFault: It is not, within the time.
    """
    try:
        async with asyncio.timeout(most_s):
            while not await met():
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise LoadFault(f"{what}: not within {most_s:g} s") from None


def reasons(error: BaseException) -> Iterator[str]:
    """Say what went wrong; of a group, each thing once."""
    if isinstance(error, BaseExceptionGroup):
        yield from dict.fromkeys(text for one in error.exceptions for text in reasons(one))
    else:
        lines = str(error).splitlines() or [""]
        end = f" ... {lines[-1]}" if len(lines) > 1 else ""
        yield f"{type(error).__name__}: {lines[0]}{end}"
