"""Header blocks of NATS messages are read as the server and its clients write them."""

import pytest

from dispatcher.inbox import read_headers


def test_headers_are_read_with_and_without_space_behind_the_colon() -> None:
    raw = b"NATS/1.0\r\nNats-Msg-Id: 1:2\r\nHookline-App:a\r\n\r\n"

    assert read_headers(raw) == {"Nats-Msg-Id": "1:2", "Hookline-App": "a"}


def test_a_status_is_read_with_and_without_a_description_and_headers() -> None:
    idle = read_headers(b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Stream: 4\r\n\r\n")
    timeout = read_headers(b"NATS/1.0 408\r\n\r\n")

    assert idle == {"Status": "100", "Nats-Last-Stream": "4"}
    assert timeout == {"Status": "408"}


@pytest.mark.parametrize("line", [b"no colon", b": no name", b"two words: x", b"\xff: x", b""])
def test_a_line_without_a_name_is_left_out(line: bytes) -> None:
    assert read_headers(b"NATS/1.0\r\n" + line + b"\r\nA: b\r\n\r\n") == {"A": "b"}


def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    assert read_headers(b"NATS/1.0\r\nA: \xffb\r\n\r\n") == {"A": "\ufffdb"}
