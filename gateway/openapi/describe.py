"""What is said of operations: one `Said` for each, gathered in one `Resource` for each tag.

To describe a new operation is to add a line to the `operations` of its resource, under its method
and path. What can be told from its method, path and access is not said again: path parameters, the
key that it needs, the errors that all such operations have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.cursor import DEFAULT_LIMIT, MAX_LIMIT
from gateway.openapi.shape import FLAG, TEXT, TIME, Shape, many, text, whole, word
from gateway.status import Status
from schema.event import CHANNEL_PATTERN, EVENT_TYPE_PATTERN, TAG_PATTERN

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a query; one that is a list may be repeated, or hold commas."""

    name: str
    shape: Shape
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What cannot be told from an operation's method, path and access.

    Attributes:
        id: The operation's id: Svix's, where it is one of theirs.
        summary: One line.
        body: What it reads; None: nothing.
        body_needed: Whether the body may be left out.
        example: A body, where that of its shape (`examples.py`) does not fit.
        answers: What it answers if all is well, by status; None: no body.
        media: The type of these answers.
        errors: Statuses of errors besides those that all operations of its kind have.
    """

    id: str
    summary: str
    answers: Mapping[int, Shape | None]
    query: Sequence[Parameter] = ()
    body: Shape | None = None
    body_needed: bool = True
    example: Mapping[str, object] | None = None
    media: str = JSON
    errors: Sequence[int] = ()
    deprecated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """The operations of a tag, by `METHOD path`, and the shapes that they read and show."""

    tag: str
    about: str
    operations: Mapping[str, Said]
    shapes: Mapping[str, Shape] = field(default_factory=dict)


def flag(name: str, about: str = "") -> Parameter:
    """Give a parameter that is true or false."""
    return Parameter(name=name, shape=FLAG, about=about)


def choice(name: str, words: Sequence[str | int], about: str = "") -> Parameter:
    """Give a parameter that is one of some words."""
    return Parameter(name=name, shape=word(words), about=about)


def choices(name: str, words: Sequence[str], about: str = "") -> Parameter:
    """Give a parameter that is a list of some words."""
    return Parameter(name=name, shape=many(word(words)), about=about)


def moment(name: str, about: str = "") -> Parameter:
    """Give a parameter that is a time."""
    return Parameter(name=name, shape=TIME, about=about)


PAGE: Final = (
    Parameter(
        name="limit",
        shape={**whole(1, MAX_LIMIT), "default": DEFAULT_LIMIT},
        about="How many to give.",
    ),
    Parameter(
        name="iterator",
        shape=TEXT,
        about="The `iterator` or `prevIterator` of a page.",
    ),
    choice("order", ("ascending", "descending")),
)
WINDOW: Final = (
    moment("before", "Exclusive."),
    moment("after", "Inclusive."),
)
WITH_CONTENT: Final = flag("with_content", "Whether payloads and answers are shown.")
EXPANDED: Final = flag("expanded_statuses", "Whether the caller knows the status `canceled`.")
STATUS: Final = choice("status", tuple(Status), "Success, pending, fail, sending or canceled.")
OF_MESSAGES: Final = (
    Parameter(name="event_types", shape=many(text(pattern=EVENT_TYPE_PATTERN))),
    Parameter(name="channel", shape=text(pattern=CHANNEL_PATTERN)),
    Parameter(name="tag", shape=text(pattern=TAG_PATTERN)),
)


def done(shape: Shape) -> Mapping[int, Shape | None]:
    """Give the usual answer."""
    return {200: shape}


NOTHING: Final[Mapping[int, Shape | None]] = {204: None}
