"""The part of this package that grades, as files: a verifier needs no installation of trl_mle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import trl_mle
from trl_mle.tasks.task import Task

PACKAGE = Path(trl_mle.__file__).parent
ROOTS = ("trl_mle.tasks.task_yaml", "trl_mle.rewards.score_transform")
"""Modules that each verifier imports, besides that of its kind of task."""
EMPTY = ("trl_mle", "trl_mle.tasks", "trl_mle.rewards")
"""Packages whose `__init__.py` is empty in the copy: it would import what grading does not need."""


@cache
def grading_code(kind: type[Task]) -> dict[str, str]:
    """Content of each file that grading a task of this kind may import from this package, by path below the package's parent.

    Data files of a package (YAML) come with it.
    """
    found: dict[str, str] = {}
    waiting = [*ROOTS, kind.__module__]
    while waiting:
        module = waiting.pop()
        path = _file(module)
        name = None if path is None else path.relative_to(PACKAGE.parent).as_posix()
        if path is None or name is None or name in found:
            continue
        is_empty = module in EMPTY
        found[name] = "" if is_empty else path.read_text(encoding="utf-8")
        if not is_empty:
            waiting += _imports(ast.parse(found[name]), module, is_package=path.name == "__init__.py")
        if path.name == "__init__.py" and not is_empty:
            found |= {
                data.relative_to(PACKAGE.parent).as_posix(): data.read_text(encoding="utf-8")
                for data in sorted(path.parent.glob("*.yaml"))
            }
        waiting.append(module.rpartition(".")[0])
    return dict(sorted(found.items()))


def _file(module: str) -> Path | None:
    if module.partition(".")[0] != PACKAGE.name:
        return None
    path = PACKAGE.parent / module.replace(".", "/")
    files = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((file for file in files if file.is_file()), None)


def _imports(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[str]:
    """Names of modules that the code may import, in functions, too, but not those for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                above = parts[: len(parts) - node.level + is_package]
                base = ".".join([*above, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        else:
            yield from _imports(node, module, is_package=is_package)
