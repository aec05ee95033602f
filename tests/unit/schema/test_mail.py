"""Who may get a mail, and when it is tried again."""

import pytest

from schema.mail import MOST_ADDRESSES, read_addresses, wait_s


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("user@example.com", ("user@example.com",)),
        (" a@example.com, b.c+d@sub.example.co ,", ("a@example.com", "b.c+d@sub.example.co")),
        ("a@example.com,a@example.com", ("a@example.com",)),
        ("!#$%&'*+/=?^_`{|}~-@example.com", ("!#$%&'*+/=?^_`{|}~-@example.com",)),
    ],
)
def test_addresses_stand_between_commas(text: str, addresses: tuple[str, ...]) -> None:
    assert read_addresses(text) == addresses


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "user", "@example.com", "user@", "user@localhost", "a b@example.com",
        "Jo <jo@example.com>", '"a,b"@example.com', "a@example.com\r\nBcc: b@example.com",
        "a@example.com\nb@example.com", "a@example.com;b@example.com", "a@-example.com",
        "a@example.com\0", "jö@example.com", "a@exämple.com", "a@example.com>", f"{'a' * 65}@b.cd",
        f"a@{'b' * 64}.cd", f"a@{'b.' * 130}cd", "a@[127.0.0.1]", "x" * 2_000,
        ",".join(f"a{n}@example.com" for n in range(MOST_ADDRESSES + 1)),
    ],
)  # fmt: skip
def test_what_is_no_address_or_could_be_more_than_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|characters"):
        read_addresses(text)


def test_a_mail_that_fails_waits_longer_and_longer_up_to_an_hour() -> None:
    waits = [wait_s(n, dice=0.0) for n in (1, 2, 3, 6, 7, 8, 1_000)]

    assert waits == [60, 120, 240, 1_920, 3_600, 3_600, 3_600]
    assert wait_s(1, dice=0.5) == 75
