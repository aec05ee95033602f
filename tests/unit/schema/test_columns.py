"""Array literals: what is missing, what is quoted, and what stands as it is.

That Postgres reads them back is shown in tests/integration/test_columns.py.
"""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from schema.store.columns import idents, numbers, parts, texts, times


def test_a_column_without_rows_is_an_empty_array() -> None:
    assert [idents([]), texts([]), numbers([]), times([])] == ["{}"] * 4


def test_what_is_missing_is_null_in_any_column() -> None:
    assert [texts([None]), numbers([None]), times([None])] == ["{NULL}"] * 3


def test_ids_stand_as_they_are() -> None:
    assert idents(["msg_1", "msg_2"]) == texts(["msg_1", "msg_2"]) == "{msg_1,msg_2}"


@pytest.mark.parametrize("text", ["NULL", "null", "Null", "", " ", "a b", "{}", "a,b", "ä", "a\n"])
def test_a_text_that_would_be_read_as_something_else_is_quoted(text: str) -> None:
    assert texts([text]) == f'{{"{text}"}}'


def test_quotes_and_backslashes_are_escaped() -> None:
    assert texts(['"', "\\", '\\"']) == r'{"\"","\\","\\\""}'


def test_numbers_and_truth_values_share_a_spelling() -> None:
    assert numbers([0, -1, 2.5, True, False]) == "{0,-1,2.5,True,False}"


def test_a_time_keeps_its_zone() -> None:
    at = datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC)

    literal = times([at, at.astimezone(timezone(timedelta(hours=5, minutes=30)))])

    assert literal == "{2026-03-04T05:06:07.000008+00:00,2026-03-04T10:36:07.000008+05:30}"


def test_bytes_stand_in_a_row_with_where_each_begins_and_its_size() -> None:
    assert parts([b"ab", None, b"", b"c"]) == (b"abc", "{1,NULL,3,3}", "{2,0,0,1}")
