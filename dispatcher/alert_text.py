"""What a mail to an app says of its endpoints: subject, text and HTML. Pure.

Names and URLs come from outside: in a header they are one line, in HTML they are escaped, and a
URL is shown without its query, which may hold a secret.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from schema.mail import Failure, Reader, Trouble
from schema.operational import Kind

MOST_SHOWN: Final = 20  # endpoints of a mail
_MOST_CHARS: Final = 120  # of a name or a URL
_DASHBOARD: Final = "applicationAlertsDashboardUrl"
_LOGO: Final = "applicationAlertsLogoUrl"
_APP: Final = "svix_app_id"  # in the dashboard's URL, as Svix has it
_DISABLED_BECAUSE: Final = {
    "gone": "It answered 410 Gone.",
    "aborted": "It asked for no more webhooks, by the header webhook-delivery.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A mail but for its envelope."""

    subject: str
    text: str
    html: str


def compose(reader: Reader, troubles: Sequence[Trouble]) -> Letter:
    """Write a mail about endpoints of an app, at least one; those that were disabled go first."""
    ordered = _ordered(troubles)
    parts = [_part(trouble) for trouble in ordered[:MOST_SHOWN]]
    company = _line(reader.settings.get("displayName"))
    opening = _opening(company, _line(reader.name))
    more = _more(len(ordered) - len(parts))
    link = _link(reader)
    return Letter(
        subject=_subject(company, ordered),
        text=_text(opening, parts, more, link),
        html=_html(opening, parts, more, link, logo=_web(reader.settings.get(_LOGO)), alt=company),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """What is said of one endpoint."""

    title: str
    lines: tuple[str, ...]


def _ordered(troubles: Sequence[Trouble]) -> list[Trouble]:
    """Put together what is of one endpoint."""
    disabled = {one.endpoint_id for one in troubles if one.kind == Kind.ENDPOINT_DISABLED}
    return sorted(
        troubles,
        key=lambda one: (
            one.endpoint_id not in disabled,
            one.url,
            one.endpoint_id,
            one.kind != Kind.ENDPOINT_DISABLED,
        ),
    )


def _subject(company: str, troubles: Sequence[Trouble]) -> str:
    first = troubles[0]
    host = _line(urlsplit(first.url).hostname) or "your endpoint"
    if len({trouble.endpoint_id for trouble in troubles}) > 1:
        said = f"Trouble with {len({t.endpoint_id for t in troubles})} webhook endpoints"
    elif first.kind == Kind.ENDPOINT_DISABLED:
        said = f"Webhook endpoint disabled: {host}"
    else:
        said = f"{_messages(first.number)} not delivered to {host}"
    return f"[{company}] {said}" if company else said


def _opening(company: str, app: str) -> str:
    of_whom = f" of {company}" if company else ""
    return f"Webhooks{of_whom} for {app or 'you'} do not arrive:"


def _part(trouble: Trouble) -> _Part:
    lines = _disabled(trouble) if trouble.kind == Kind.ENDPOINT_DISABLED else _exhausted(trouble)
    return _Part(_shown(trouble.url), (*lines, *_last(trouble.failure)))


def _disabled(trouble: Trouble) -> Iterable[str]:
    yield f"This endpoint was disabled on {_time(trouble.last_at)}: it gets no more webhooks."
    if trouble.fail_since is not None:
        yield f"Every attempt has failed since {_time(trouble.fail_since)}."
    elif trouble.reason in _DISABLED_BECAUSE:
        yield _DISABLED_BECAUSE[trouble.reason]
    yield "Once it works again, enable it, and have what it missed sent again."


def _exhausted(trouble: Trouble) -> Iterable[str]:
    since = f"since {_time(trouble.since)}" if trouble.number > 1 else f"on {_time(trouble.since)}"
    were = "was" if trouble.number == 1 else "were"
    yield f"{_messages(trouble.number)} {were} given up {since}, after the last attempt of each."
    yield "They are kept: once the endpoint works again, they can be sent again."


def _last(failure: Failure | None) -> Iterable[str]:
    if failure is not None:
        said = f"HTTP {failure.status}" if failure.status is not None else ""
        detail = _line(failure.detail)
        why = ": ".join(one for one in (said, detail) if one)
        yield f"The last attempt that failed, on {_time(failure.at)}: {why or 'no answer'}."


def _text(opening: str, parts: Sequence[_Part], more: str, link: str | None) -> str:
    blocks = [opening, *("\n".join([part.title, *part.lines]) for part in parts)]
    blocks += [more] if more else []
    blocks += [f"Your endpoints: {link}"] if link else []
    return "\n\n".join(blocks) + "\n"


def _html(
    opening: str, parts: Sequence[_Part], more: str, link: str | None, *, logo: str | None, alt: str
) -> str:
    blocks = []
    if logo is not None:
        blocks.append(f'<p><img src="{escape(logo)}" alt="{escape(alt)}" height="40"></p>')
    blocks.append(f"<p>{escape(opening)}</p>")
    for part in parts:
        said = "<br>\n".join(escape(line) for line in part.lines)
        blocks.append(f"<p><b>{escape(part.title)}</b><br>\n{said}</p>")
    if more:
        blocks.append(f"<p>{escape(more)}</p>")
    if link is not None:
        blocks.append(f'<p><a href="{escape(link)}">Your endpoints</a></p>')
    body = "\n".join(blocks)
    return (
        f'<!doctype html>\n<html><body style="font-family: sans-serif">\n{body}\n</body></html>\n'
    )


def _more(number: int) -> str:
    return f"And {number} more like these." if number > 0 else ""


def _link(reader: Reader) -> str | None:
    """Give where the app's endpoints are managed, with the app in its query."""
    base = _web(reader.settings.get(_DASHBOARD))
    if base is None:
        return None
    url = urlsplit(base)
    query = [*parse_qsl(url.query, keep_blank_values=True), (_APP, reader.uid or reader.app_id)]
    return urlunsplit(url._replace(query=urlencode(query)))


def _web(value: object) -> str | None:
    """Give what may stand in a mail as an address of the web."""
    if not isinstance(value, str) or any(not c.isprintable() or c == " " for c in value):
        return None
    try:
        url = urlsplit(value)
    except ValueError:
        return None
    return value if url.scheme in {"http", "https"} and url.hostname else None


def _shown(text: str) -> str:
    """Give a URL without what may be secret of it."""
    url = urlsplit(text)
    return _line(f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}")


def _line(value: object) -> str:
    """Give a text that somebody chose as one line, not too long."""
    if not isinstance(value, str):
        return ""
    plain = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    return plain if len(plain) <= _MOST_CHARS else f"{plain[: _MOST_CHARS - 1]}…"


def _messages(number: int) -> str:
    return "1 message" if number == 1 else f"{number:,} messages"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d} at {at:%H:%M} UTC"
