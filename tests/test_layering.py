"""The import rule: types, errors, parsing, circuit_breaker <- config <- language_models <- stages (which do not import each
other) <- rewards, training, experience, environments, evaluation <- reports <- scripts, cli. And importing the package or a
stage needs neither torch nor trl."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import trl_mle

PACKAGE = Path(trl_mle.__file__).parent
STAGES = ("tasks", "prompts", "programs", "instrumentation", "sandboxes", "grading", "experience", "demo")
LAYERS = {
    "types": 0,
    "errors": 0,
    "parsing": 0,
    "circuit_breaker": 0,
    "config": 1,
    "language_models": 2,
    **dict.fromkeys(STAGES, 3),
    "dataset": 4,
    "rewards": 4,
    "training": 5,
    "evaluation": 5,
    "reports": 6,
    "scripts": 7,
    "cli": 8,
}
# `Task.grade` is a public name of the task; grading itself knows no task folder, only a `TaskSpec`.
BETWEEN_STAGES = {("tasks", "grading"), ("evaluation", "reports")}


TORCH_FILES = {"transformers_backend.py", "tiny_policy.py"}
"""Loaded by those who ask for a model in this process, and by nobody else."""


def part_of(module: str) -> str | None:
    """`trl_mle.tasks.task` -> `tasks`; None for the package itself and for other packages."""
    names = module.split(".")
    return names[1] if names[0] == "trl_mle" and len(names) > 1 else None


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:  # what a sandbox's worker runs, outside the package, imports its neighbours relatively
                package = ["trl_mle", *path.relative_to(PACKAGE).parts[: -node.level]]
                module = ".".join([*package, module])
            found.update([f"trl_mle.{alias.name}" for alias in node.names] if module == "trl_mle" else [module])
    return found


FILES = [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in LAYERS]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    relative = path.relative_to(PACKAGE)
    here = relative.parts[0].removesuffix(".py")
    for module in imports(path):
        there = part_of(module)
        if there is None or there == here or (here, there) in BETWEEN_STAGES:
            continue
        assert LAYERS[there] < LAYERS[here], (
            f"{relative} (layer {LAYERS[here]}) imports {module} (layer {LAYERS[there]})"
        )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_training_imports_torch_and_trl(path):
    if path.relative_to(PACKAGE).parts[0] in ("training", "scripts") or path.name in TORCH_FILES:
        return
    roots = {module.split(".")[0] for module in imports(path)}
    assert not roots & {"torch", "trl", "transformers", "accelerate", "peft", "vllm", "deepspeed"}


def test_importing_the_package_and_the_stages_loads_no_heavy_library():
    stages = [stage for stage in STAGES if (PACKAGE / stage).is_dir()]
    script = (
        "import sys, trl_mle, trl_mle.types, trl_mle.errors, trl_mle.config\nfrom trl_mle import prompts_dataset\n"
        + "".join(f"import trl_mle.{stage}\n" for stage in [*stages, "rewards"])
        + "print(sorted({'torch', 'trl', 'transformers', 'datasets', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_public_name_can_be_imported():
    for name in trl_mle.__all__:
        assert getattr(trl_mle, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = trl_mle.nothing
