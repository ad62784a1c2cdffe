"""Files that are replaced as a whole."""

from __future__ import annotations

import os

import pytest

from trl_mle.errors import ConfigError
from trl_mle.whole_files import write_whole


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "a.json"
    write_whole(path, "one \ud800")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two" and path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("raised", "expected"), [(OSError(28, "full"), ConfigError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_what_was_there_stays_if_writing_fails(tmp_path, monkeypatch, raised, expected):
    def fail(*arguments):
        raise raised

    path = tmp_path / "a.json"
    write_whole(path, "earlier")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(expected):
        write_whole(path, "new")
    assert [found.name for found in tmp_path.iterdir()] == ["a.json"] and path.read_text() == "earlier"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none/a\.json cannot be written \(No such file.*choose another folder"):
        write_whole(tmp_path / "none" / "a.json", "x")
