"""The import rule: every part of the package stands on a floor and imports only what stands lower.

No stage imports another one, training imports none, and no two files import each other. Importing the package, a stage or the
rewards loads no heavy library.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import trl_mle

PACKAGE = Path(trl_mle.__file__).parent
STAGES = ("tasks", "prompts", "programs", "instrumentation", "sandboxes", "grading", "demo")
FLOORS = (
    (
        "types",
        "errors",
        "parsing",
        "special_tokens",
        "text_tables",
        "yaml_values",
        "circuit_breaker",
        "hub_files",
        "_version",
    ),
    ("config", "hub_files", "whole_files"),
    ("language_models",),
    STAGES,
    ("outcomes", "dataset", "comparison"),
    ("rewards",),
    ("experience",),
    ("curriculum",),
    ("environments",),
    ("evaluation", "exports"),
    ("reports",),
    ("solve",),
    ("scripts",),
    ("cli",),
    ("__main__",),
)
FLOOR = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
# Any TRL reward function can use the trainer, so training knows nothing of tasks, programs and sandboxes.
FLOOR_OF_TRAINING = FLOOR["scripts"] - 1
TRAINING_MAY_IMPORT = {"types", "errors"}
# `Task.grade` is a public method of the task. Grading itself knows no task folder, only a `TaskSpec`.
# A grader that is a program of others runs in a sandbox.
BETWEEN_STAGES = {("tasks", "grading"), ("grading", "sandboxes")}
HEAVY = {"torch", "trl", "transformers", "accelerate", "peft", "vllm", "deepspeed"}
ABOVE_STAGES = ("rewards", "experience", "environments", "evaluation", "reports")
TORCH_FILES = {
    "transformers_backend.py",
    "tiny_policy.py",
    "transformers_policy.py",
    "seeded_rows.py",
    "vllm_policy.py",
    "tool_calls.py",
}
"""Files that load a model into this process. They are imported by whoever asks for one."""

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def part_of(path: Path) -> str:
    """`tasks/task.py` -> `tasks`, `types.py` -> `types`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor_of(part: str) -> int:
    return FLOOR_OF_TRAINING if part == "training" else FLOOR[part]


def statements(node: ast.AST, *, at_import: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements of `node`. With `at_import`, only those that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif at_import and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        elif at_import and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from statements(other, at_import=True)
        else:
            yield from statements(child, at_import=at_import)


@cache
def imports(path: Path, *, at_import: bool = False) -> set[str]:
    """Modules that a file imports, by full name; `from package import name` is `package.name`."""
    return imported(ast.parse(path.read_text(encoding="utf-8")), path, at_import=at_import)


def imported(tree: ast.AST, path: Path, *, at_import: bool = False) -> set[str]:
    """The same for the code of a file."""
    found: set[str] = set()
    for node in statements(tree, at_import=at_import):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
            continue
        module = node.module or ""
        if node.level:  # the sandbox's runner runs outside the package and imports its neighbours relatively
            parts = ["trl_mle", *path.relative_to(PACKAGE).parts]
            module = ".".join([*parts[: -node.level], *([module] if module else [])])
        found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def file_of(module: str) -> Path | None:
    """The file of a module of this package, or of the module that a name is imported from."""
    parts = module.split(".")
    if parts[0] != "trl_mle":
        return None
    for names in (parts[1:], parts[1:-1]):
        path = PACKAGE.joinpath(*names)
        if path.with_suffix(".py").is_file() and names:
            return path.with_suffix(".py")
        if (path / "__init__.py").is_file():
            return path / "__init__.py"
    return None


def test_imports_point_downwards():
    assert [problem for path in FILES for problem in upward_imports(path)] == []


def upward_imports(path: Path) -> Iterator[str]:
    """What is wrong with the imports of a file."""
    relative, here = path.relative_to(PACKAGE), part_of(path)
    for module in sorted(imports(path)):
        target = file_of(module)
        if target is None or target == PACKAGE / "__init__.py":
            if module.startswith("trl_mle.") and "__" not in module:
                yield f"{relative} imports {module}, whose floor is unknown"
            continue
        there = part_of(target)
        if there == here or (here, there) in BETWEEN_STAGES:
            continue
        if here == "training" and there not in TRAINING_MAY_IMPORT:
            yield f"{relative} imports {module}, but training imports only types and errors"
        if not floor_of(there) < floor_of(here):
            yield f"{relative} (floor {floor_of(here)}) imports {module} (floor {floor_of(there)})"


@pytest.mark.parametrize(
    ("name", "code", "problem"),
    [
        (
            "grading/new.py",
            "from trl_mle.rewards.scorer import ProgramScorer",
            "(floor 3) imports trl_mle.rewards.scorer",
        ),
        ("grading/new.py", "from trl_mle.tasks import Task", "(floor 3) imports trl_mle.tasks.Task (floor 3)"),
        ("training/new.py", "import trl_mle.config", "training imports only types and errors"),
        ("tasks/new.py", "from trl_mle.nowhere import x", "whose floor is unknown"),
    ],
)
def test_an_import_that_points_up_is_found(tmp_path, monkeypatch, name, code, problem):
    monkeypatch.setattr(sys.modules[__name__], "imports", lambda path: imported(ast.parse(code), path))
    assert problem in " ".join(upward_imports(PACKAGE / name))


def test_no_two_files_import_each_other():
    graph: dict[Path, set[Path]] = {}
    for path in [*FILES, PACKAGE / "__init__.py"]:
        targets: set[Path] = set()
        for module in imports(path, at_import=True):
            target = file_of(module)
            if target is None:
                continue
            # Importing a module also runs its packages, except those that the importing file is itself a part of.
            packages = {folder / "__init__.py" for folder in target.parents if folder not in path.parents}
            targets |= {target, *(package for package in packages if package.is_file() and PACKAGE in package.parents)}
        graph[path] = targets - {path}
    assert [[str(path.relative_to(PACKAGE)) for path in circle] for circle in circles(graph)] == []


def circles(graph: dict[Path, set[Path]]) -> list[list[Path]]:
    """A circle of imports for each edge that leads back, found by depth-first search."""
    found: list[list[Path]] = []
    done: set[Path] = set()

    def visit(path: Path, trail: list[Path]) -> None:
        if path in trail:
            found.append([*trail[trail.index(path) :], path])
        elif path not in done:
            for target in sorted(graph.get(path, ())):
                visit(target, [*trail, path])
            done.add(path)

    for path in sorted(graph):
        visit(path, [])
    return found


def test_a_circle_is_found():
    a, b, c = (PACKAGE / name for name in "abc")
    assert circles({a: {b}, b: {c}, c: set()}) == []
    assert circles({a: {b}, b: {c}, c: {b}}) == [[b, c, b]]


def test_only_training_imports_torch_and_trl():
    light = [path for path in FILES if part_of(path) not in ("training", "scripts") and path.name not in TORCH_FILES]
    assert len(light) > 300
    heavy = {path: {module.split(".")[0] for module in imports(path)} & HEAVY for path in light}
    assert {str(path.relative_to(PACKAGE)): found for path, found in heavy.items() if found} == {}


def test_importing_the_package_and_the_stages_loads_no_heavy_library():
    stages = [stage for stage in STAGES if (PACKAGE / stage).is_dir()]
    script = (
        "import sys, trl_mle, trl_mle.types, trl_mle.errors, trl_mle.config, trl_mle.outcomes\n"
        + "from trl_mle import prompts_dataset\n"
        + "".join(f"import trl_mle.{part}\n" for part in [*stages, *ABOVE_STAGES])
        + "print(sorted({'torch', 'trl', 'transformers', 'datasets', 'sklearn', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_public_name_can_be_imported():
    for name in trl_mle.__all__:
        assert getattr(trl_mle, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = trl_mle.nothing


def test_type_checkers_and_the_interpreter_know_the_same_public_names():
    """`trl_mle/__init__.py` lists them twice: type checkers follow no table."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == trl_mle._HOMES
