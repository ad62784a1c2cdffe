"""Every benchmark runs as its docstring says: from any folder, with nothing but its own folder on `sys.path`."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
FILES = sorted(FOLDER.glob("*.py"))
SCRIPTS = [path for path in FILES if '__name__ == "__main__"' in path.read_text()]


def imported(tree):
    """Top-level names of the imported modules, in the order of their lines."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in sorted(nodes, key=lambda node: node.lineno):
        names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        yield from (name.split(".")[0] for name in names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_imports_tests_finds_the_repository_first(path):
    names = list(imported(ast.parse(path.read_text())))
    if "tests" in names:
        assert "checkout" in names[: names.index("tests")], "`python benchmarks/...` finds no module `tests`"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_docstring_says_how_to_run_it(path):
    assert f"python benchmarks/{path.name}" in ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_starts(path, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(path), "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
