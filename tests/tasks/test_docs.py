"""The example of docs/tasks.md runs as printed, and the page names every key of `task.yaml`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trl_mle import build_prompt, load_task
from trl_mle.tasks.load import SOURCES
from trl_mle.tasks.task_yaml import KEYS

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")


def test_a_source_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRL_MLE_CACHE", str(tmp_path))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.setitem(SOURCES, "line", SOURCES["builtin"])  # removed again after the test
    exec(compile(code, "docs/tasks.md", "exec"), {"__name__": "example"})
    assert "valid=True" in capsys.readouterr().out
    task = load_task("line:flat")
    assert (task.id, task.private_dir.stat().st_mode & 0o777) == ("line:flat", 0o700)
    assert "Predict y from x." in build_prompt(task)[1]["content"]


@pytest.mark.parametrize("key", KEYS)
def test_the_page_names_every_key(key):
    assert f"`{key}`" in PAGE
