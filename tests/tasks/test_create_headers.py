"""Headers as tables have them: lower in the sheet, below a title, twice, or not at all."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from trl_mle.errors import TaskError
from trl_mle.tasks.create import Request, propose
from trl_mle.tasks.text_table import read_text_table

BODY = "".join(f"{at % 7},{at}\n" for at in range(30))


def written(folder: Path, text: str) -> Path:
    (path := folder / "d.csv").write_text(text)
    return path


@pytest.mark.parametrize("above", [",\n,\n", '"",""\n', " ; \n", "\n,\n\n# a comment\n"])
@pytest.mark.parametrize("target", ["y", None])
def test_rows_without_text_above_the_header_are_no_header(tmp_path, above, target):
    table = read_text_table(written(tmp_path, f"{above}x,y\n{BODY}"), target)

    assert list(table.frame.columns) == ["x", "y"] and len(table.frame) == 30


def test_a_sheet_may_begin_lower(tmp_path):
    pytest.importorskip("openpyxl")
    frame = pd.DataFrame({"x": range(30), "y": range(30)})
    frame.to_excel(tmp_path / "d.xlsx", index=False, startrow=3, startcol=2)

    assert list(read_text_table(tmp_path / "d.xlsx", "y").frame["y"]) == [str(at) for at in range(30)]


def test_a_title_above_the_header_is_named(tmp_path):
    path = written(tmp_path, f"Sales of 2020\n\nx,y\n{BODY}")

    with pytest.raises(TaskError, match=r"no column 'y'.*Line 3 has a cell of this name"):
        read_text_table(path, "y")
    with pytest.raises(TaskError, match=r"If the header is the row that begins with 'x', 'y'"):
        read_text_table(path, None)
    with pytest.raises(TaskError, match=r"no column 'z'; it has 'Sales of 2020'. If another character"):
        read_text_table(path, "z")


def test_a_header_that_repeats_is_no_row(tmp_path):
    table = read_text_table(written(tmp_path, 3 * f"x,y\n{BODY}"), "y")

    assert len(table.frame) == 90 and "y" not in set(table.frame["y"])
    assert "2 rows repeat the header and are left out." in table.notes[0]


def test_a_first_line_of_data_is_named(tmp_path):
    with pytest.raises(TaskError, match=r"both called '5.1'; rename one. The first line looks like data"):
        read_text_table(written(tmp_path, "5.1,3.5,5.1,a\n" * 9), None)
    people = "".join(f"{at + 30}, Private, {at % 7}, Bachelors, {'>50K' if at % 3 else '<=50K'}\n" for at in range(40))
    notes = propose(written(tmp_path, people), Request.of("<=50K", "accuracy")).notes
    assert any("'Private' and the like. If the first line is data" in note for note in notes)
    pixels = pd.DataFrame({str(at): range(40) for at in range(6)} | {"y": 20 * ["a", "b"]})
    assert not any("first line" in note for note in _notes_of(tmp_path, pixels))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n<!DOCTYPE html>\n<html>Log in, please</html>\n", "an HTML page"),
        ('{"x": 1, "y": 2}\n{"x": 3, "y": 4}\n', "JSON"),
        ('[\n {"x": 1}]', "JSON"),
    ],
)
def test_pages_and_json_under_the_name_of_a_table_are_named(tmp_path, text, message):
    for target in ("y", None):
        with pytest.raises(TaskError, match=message):
            read_text_table(written(tmp_path, text), target)


def _notes_of(folder: Path, frame: pd.DataFrame) -> tuple[str, ...]:
    return propose(written(folder, frame.to_csv(index=False)), Request.of("y", "accuracy")).notes


def test_quotes_after_a_backslash_are_named(tmp_path):
    with pytest.raises(TaskError, match=r"line 2 of .* is not CSV.*a quote is written twice"):
        read_text_table(written(tmp_path, 'x,y\n"a \\"b\\" c",1\n'), "y")
