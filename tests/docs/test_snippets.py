"""Every command and snippet of README, Start, Tutorials and Concepts is run here, or says what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.snippets import ALL_PAGES, PAGES, ROOT, Block, blocks, commands, unknown_blocks, wrong_words
from tests.support.tiny import save_chat_model, tiny_dataset

KNOWN_MARKS = ("slow", "small", "needs=", "test=")
SMALL = {
    "max_steps": 2,
    "max_completion_length": 8,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "disable_tqdm": True,
}
"""Settings with which a block that is marked `small` trains on this machine."""


def runnable(page: Path, slow: bool) -> list[Block]:
    """Blocks of a page that a test of this file runs; without `slow` only the quick ones."""
    found = [block for block in blocks(page) if block.needs is None and block.test is None]
    return [block for block in found if slow or "slow" not in block.marks]


def test_the_pages_have_blocks():
    assert len(PAGES) > 10
    assert sum(len(blocks(page)) for page in PAGES) > 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_marks_are_known(page):
    for block in blocks(page):
        for mark in block.marks:
            assert mark.startswith(KNOWN_MARKS), f"{block.name}: {mark}"
        assert "needs=" not in block.marks, f"{block.name} does not say what it needs"
        if block.test is not None:
            assert page.name in Path(ROOT, block.test).read_text(encoding="utf-8"), f"{block.name}: {block.test}"


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_flags_recipes_and_files_that_exist(page):
    for block in blocks(page):
        for words in commands(block.code) if block.language == "bash" else ():
            assert not wrong_words(words), f"{block.name}: {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_block_is_passed_over(page):
    assert unknown_blocks(page) == []


@pytest.mark.parametrize(
    "text", ["```sh\nls\n```\n", "```\nls\n```\n", "- a\n\n  ```bash\n  ls\n  ```\n", "~~~bash\nls\n~~~\n"]
)
def test_a_block_in_another_form_is_found(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(f"```bash\nls\n```\n\n{text}", encoding="utf-8")
    assert unknown_blocks(page)


def test_a_wrong_flag_or_recipe_is_found():
    for wrong in (
        "trl-mle grpo --config quickstart/grpo --no_such_key 1",
        "trl-mle tasks create --csv a.csv --goal y",
        "trl-mle launch",
        "accelerate launch recipes/none.py",
    ):
        (words,) = commands(wrong)
        assert wrong_words(words), wrong


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page, slow=False)], ids=lambda page: page.stem)
def test_quick_blocks_run(page, tmp_path, monkeypatch):
    run_blocks(runnable(page, slow=False), tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "page", [page for page in PAGES if runnable(page, True) != runnable(page, False)], ids=lambda page: page.stem
)
def test_all_blocks_run_in_order(page, tmp_path, monkeypatch):
    run_blocks(runnable(page, slow=True), tmp_path, monkeypatch)


def run_blocks(found: Sequence[Block], folder: Path, monkeypatch) -> None:
    """Run blocks in `folder`, in order. Python blocks of one page share their names, as in one session."""
    monkeypatch.chdir(folder)
    names: dict = {}
    for block in found:
        if block.language == "bash":
            run_bash(block, folder)
            continue
        if "small" in block.marks:
            names |= small_policy(folder, monkeypatch)
        exec(compile(block.code, block.name, "exec"), names)


def run_bash(block: Block, folder: Path) -> None:
    """Run a block as a script that stops at the first error. `trl-mle` is that of this checkout."""
    programs = folder / ".programs"
    programs.mkdir(exist_ok=True)
    command = programs / "trl-mle"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m trl_mle.cli.main "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.code],
        env=environment, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, f"{block.name}\n{done.stdout[-4000:]}"


def small_policy(folder: Path, monkeypatch) -> dict:
    """Names that a `small` block takes as given. The trainer's configuration gets the settings of `SMALL`."""
    import trl_mle.training

    config = trl_mle.training.DurationAwareConfig
    monkeypatch.setattr(
        trl_mle.training, "DurationAwareConfig", lambda *args, **settings: config(*args, **{**settings, **SMALL})
    )
    return {"model": save_chat_model(folder / "policy"), "prompts": tiny_dataset()}
