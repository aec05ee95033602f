from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from deploy.client.table import Column, table

ID = "dl_3MluHjYrxoT3kOH6J0GM1aSXCzT"
COLUMNS = (
    Column(title="ID", least=30, rank=1),
    Column(title="N", least=5, rank=3, right=True),
    Column(title="TEXT", least=8, rank=2),
    Column(title="EMPTY", least=1, rank=1),
)


def shown(*rows: tuple[object, ...], width: int) -> list[str]:
    return table(COLUMNS, [(*row, "") for row in rows], width=width).plain.splitlines()


def test_what_has_room_is_whole_and_numbers_stand_to_the_right() -> None:
    assert shown((ID, 7, "long enough"), (ID, 10, "short"), width=80) == [
        f"ID{' ' * 31}N  TEXT",
        f"{ID}   7  long enough",
        f"{ID}  10  short",
    ]


def test_what_has_no_room_is_cut_and_then_left_out_the_least_important_first() -> None:
    row = (ID, 7, "long enough")

    assert shown(row, width=44)[1] == f"{ID}  7  long eno…"
    assert shown(row, width=42)[1] == f"{ID}  long enou…"
    assert shown(row, width=35)[1] == f"{ID}  7"
    assert shown(row, width=30)[1] == ID


@given(text=st.text(max_size=30), width=st.integers(30, 120))
def test_no_line_is_wider_than_the_terminal_whatever_it_holds(text: str, width: int) -> None:
    lines = shown((ID, 1, text), width=width)

    assert len(lines) == 2
    assert all(cell_len(line) <= width for line in lines)
