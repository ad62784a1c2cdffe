"""Compressed tables: limits of what they unpack to, whoever reads them."""

from __future__ import annotations

import gzip
import zipfile

import pytest

from trl_mle import text_tables
from trl_mle.errors import TaskError
from trl_mle.grading.csv_rows import read_rows
from trl_mle.prompts.table_summary import count_rows
from trl_mle.sandboxes.base import submission_size


@pytest.fixture
def bombs(tmp_path, monkeypatch):
    """Compressed tables with a long line, and with many lines; the limits are small."""
    monkeypatch.setattr(text_tables, "MAX_UNPACKED_BYTES", 4 << 20)
    monkeypatch.setattr(text_tables, "MAX_UNPACKED_LINE", 1 << 20)
    (tmp_path / "line.csv.gz").write_bytes(gzip.compress(b"id,y\n" + b"1" * (2 << 20)))
    with zipfile.ZipFile(tmp_path / "lines.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lines.csv", b"id,y\n" + b"1,2\n" * (2 << 20))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "what"), [("line.csv.gz", "has a line of more"), ("lines.csv.zip", "unpacks to more")]
)
def test_a_small_archive_with_a_huge_table_is_refused(bombs, name, what):
    with pytest.raises(TaskError, match=what):
        for _ in read_rows(bombs / name):
            pass
    with pytest.raises(ValueError, match=what):
        count_rows(bombs / name)
    assert submission_size(bombs / name) == 0


def test_a_table_within_the_limits_is_read_whole(bombs):
    text = b"id,y\r\n" + b"\xc3\xa4,2\r\n" * 100_000
    (bombs / "a.csv.gz").write_bytes(gzip.compress(text))
    with text_tables.open_bytes(bombs / "a.csv.gz") as file:
        assert file.read() == text
    assert count_rows(bombs / "a.csv.gz") == 100_000
