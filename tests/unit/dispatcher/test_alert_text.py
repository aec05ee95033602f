"""What a mail says of endpoints, and that nothing in it is more than text."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dispatcher.alert_text import MOST_SHOWN, compose
from schema.mail import Failure, Reader, Trouble
from schema.operational import Kind

AT = datetime(2026, 5, 4, 13, 2, 1, tzinfo=UTC)
READER = Reader(app_id="app_1", uid="acme", name="Acme Corp", email="a@example.com", settings={})
LOST = Trouble(
    kind=Kind.ATTEMPT_EXHAUSTED,
    endpoint_id="ep_1",
    url="https://hooks.example.com/in?token=s3cret",
    number=12,
    since=AT,
    last_at=AT.replace(hour=14),
    fail_since=None,
    reason=None,
    failure=Failure(at=AT.replace(hour=15), status=503, detail=""),
)
DISABLED = replace(
    LOST, kind=Kind.ENDPOINT_DISABLED, number=1, fail_since=AT.replace(day=1), reason="failing"
)


def reading(**settings: Any) -> Reader:
    return replace(READER, settings=settings)


def test_messages_that_were_given_up_are_told_with_since_when_and_the_last_error() -> None:
    letter = compose(READER, [LOST])

    assert letter.subject == "12 messages not delivered to hooks.example.com"
    assert letter.text == (
        "Webhooks for Acme Corp do not arrive:\n\n"
        "https://hooks.example.com/in\n"
        "12 messages were given up since 2026-05-04 at 13:02 UTC, after the last attempt of each.\n"
        "They are kept: once the endpoint works again, they can be sent again.\n"
        "The last attempt that failed, on 2026-05-04 at 15:02 UTC: HTTP 503.\n"
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "Every attempt has failed since 2026-05-01 at 13:02 UTC."),
        ({"fail_since": None, "reason": "gone"}, "It answered 410 Gone."),
        ({"fail_since": None, "reason": "aborted"}, "It asked for no more webhooks"),
    ],
)
def test_an_endpoint_that_was_disabled_is_told_with_why(changes: dict[str, Any], why: str) -> None:
    letter = compose(READER, [replace(DISABLED, **changes)])

    assert letter.subject == "Webhook endpoint disabled: hooks.example.com"
    assert "disabled on 2026-05-04 at 14:02 UTC: it gets no more webhooks." in letter.text
    assert why in letter.text


def test_several_endpoints_are_one_mail_those_that_are_disabled_first() -> None:
    other = replace(DISABLED, endpoint_id="ep_2", url="https://other.example.com/")

    letter = compose(READER, [LOST, other])

    assert letter.subject == "Trouble with 2 webhook endpoints"
    assert letter.text.index("other.example.com") < letter.text.index("hooks.example.com")


def test_what_happened_to_an_endpoint_stands_together() -> None:
    url = "https://a.example.com/"
    other = replace(DISABLED, endpoint_id="ep_2", url=url)

    letter = compose(READER, [LOST, replace(LOST, endpoint_id="ep_2", url=url), other])

    blocks = [block.split("\n")[:2] for block in letter.text.split("\n\n")[1:]]
    assert [title for title, _ in blocks] == [url, url, "https://hooks.example.com/in"]
    assert "disabled" in blocks[0][1]
    assert "given up" in blocks[1][1]


def test_a_mail_about_very_many_endpoints_says_how_many_more_there_are() -> None:
    many = [replace(LOST, endpoint_id=f"ep_{n}") for n in range(MOST_SHOWN + 7)]

    letter = compose(READER, many)

    assert letter.text.count("hooks.example.com") == MOST_SHOWN
    assert "And 7 more like these." in letter.text
    assert "And 7 more like these." in letter.html


@pytest.mark.parametrize(
    ("uid", "base", "link"),
    [
        ("acme", "https://app.example.com", "https://app.example.com?svix_app_id=acme"),
        (None, "https://app.example.com/x?a=1#b",
         "https://app.example.com/x?a=1&svix_app_id=app_1#b"),
        ("a&b", "http://app.example.com/", "http://app.example.com/?svix_app_id=a%26b"),
        ("acme", "javascript:alert(1)", None),
        ("acme", "https://", None),
        ("acme", "https://app.example.com/\r\nx", None),
        ("acme", 'https://app.example.com/"><script>',
         'https://app.example.com/"><script>?svix_app_id=acme'),
        ("acme", 7, None),
    ],
)  # fmt: skip
def test_the_link_leads_to_the_dashboard_and_names_the_app(
    uid: str | None, base: object, link: str | None
) -> None:
    reader = replace(reading(applicationAlertsDashboardUrl=base), uid=uid)

    letter = compose(reader, [LOST])

    assert (link is None) is ("Your endpoints" not in letter.text)
    assert f"Your endpoints: {link}\n" in letter.text or link is None
    assert "<script" not in letter.html


def test_what_others_chose_cannot_become_a_header_or_markup() -> None:
    nasty = '</p><script>alert(1)</script>\r\nBcc: all@example.com "x\0'
    reader = replace(reading(displayName=nasty, applicationAlertsLogoUrl=f"https://x/{nasty}"))

    letter = compose(
        replace(reader, name=nasty),
        [replace(LOST, failure=Failure(at=AT, status=None, detail=nasty))],
    )

    assert letter.subject.startswith("[</p><script>alert(1)</script> Bcc: all@example.com")
    assert not set(letter.subject) & set("\r\n\0")
    assert "<script" not in letter.html
    assert "<img" not in letter.html
    assert "&lt;script&gt;alert(1)" in letter.html
    assert "\nBcc:" not in letter.text


def test_a_logo_and_the_companys_name_stand_where_they_are_set() -> None:
    reader = reading(displayName="Acme", applicationAlertsLogoUrl="https://example.com/l.png?a&b")

    letter = compose(reader, [LOST])

    assert letter.subject == "[Acme] 12 messages not delivered to hooks.example.com"
    assert '<img src="https://example.com/l.png?a&amp;b" alt="Acme" height="40">' in letter.html
    assert "Webhooks of Acme for Acme Corp do not arrive:" in letter.html


def test_no_secret_of_a_url_is_mailed() -> None:
    url = f"https://user:pa55@hooks.example.com/{'x' * 500}?token=s3cret"

    letter = compose(READER, [replace(LOST, url=url)])

    for part in (letter.subject, letter.text, letter.html):
        assert "pa55" not in part
        assert "s3cret" not in part
        assert "x" * 200 not in part
