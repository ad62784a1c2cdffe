"""The texts of a Harbor task: `instruction.md`, `task.toml`, the two Dockerfiles, the scripts."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from trl_mle._version import __version__
from trl_mle.errors import TaskError
from trl_mle.prompts.scratch import task_values, template
from trl_mle.tasks.task import Task

SCHEMA_VERSION = "1.4"
"""Version of Harbor's format."""
GRADER_PACKAGES = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "PyYAML")
"""Distributions that grading needs."""
RULES = "# Rules"
"""Heading of the prompt's last part, which is about one program. An agent has other rules."""
PYTHON_IMAGE = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"

TEST_SH = """\
#!/bin/bash
# Grades /app/submission.csv and writes /logs/verifier/reward.json. Without that file, Harbor reports a fault of the verifier.
exec python -s -E /tests/verify.py
"""
SOLVE_SH = """\
#!/bin/bash
# The task's reference solution.
set -e
cd /app
exec python /solution/reference.py
"""


def instruction(task: Task, agent_timeout_s: float, network: str) -> str:
    """Text of `instruction.md`: the task as in the prompt of a policy, with the rules for an agent."""
    text = template("task.j2").render(task_values(task))
    before, rules, _ = text.rpartition(f"\n{RULES}\n")  # the last one: a description may have such a heading, too
    if not rules:
        raise TaskError(f"the prompt of task {task.id!r} has no part {RULES!r}.")
    offline = " There is no network." if network == "no-network" else ""
    packages = f" with {', '.join(_packages(task.packages))}" if task.packages else ""
    return (
        f"{before.strip()}\n\n{RULES}\n"
        "- Work in /app. The data is in /app/input. Write /app/submission.csv; it alone is graded.\n"
        f"- You have {agent_timeout_s:g} s in all, {_cpus(task)} CPU{'' if task.threads == 1 else 's'}, "
        f"{_memory_mb(task)} MiB of memory and no GPU.\n"
        f"- Python {sys.version_info.major}.{sys.version_info.minor}{packages} is installed.{offline}\n"
        "- The answers are on another machine. The score is computed there.\n"
    )


def task_toml(task: Task, agent_timeout_s: float, network: str) -> str:
    """Text of `task.toml`. The verifier has a box of its own, and gets `/app/submission.csv` alone."""
    name = re.sub(r"\.{2,}", ".", task.id.rpartition(":")[2])
    sections: dict[str, Mapping[str, Any]] = {
        "": {"schema_version": SCHEMA_VERSION, "artifacts": ["/app/submission.csv"]},
        "task": {
            "name": f"trl-mle/{name}",
            "description": task.title,
            "keywords": ["machine-learning-engineering", "trl_mle"],
        },
        "metadata": {
            "metric": task.metric,
            "direction": task.direction,
            "source": task.id,
            "written_by": f"trl_mle {__version__}",
        },
        "agent": {"timeout_sec": float(agent_timeout_s)},
        "environment": {
            "network_mode": network,
            "workdir": "/app",
            "cpus": _cpus(task),
            "memory_mb": _memory_mb(task),
            "build_timeout_sec": 1800.0,
        },
        "verifier": {"environment_mode": "separate", "timeout_sec": 600.0},
        "verifier.environment": {"network_mode": "no-network", "workdir": "/app", "build_timeout_sec": 1800.0},
    }
    return "\n".join(_section(name, values) for name, values in sections.items())


def dockerfile(task: Task) -> str:
    """Text of `environment/Dockerfile`: the image that the agent sees."""
    return f"FROM {PYTHON_IMAGE}\n{_install(_packages(task.packages))}WORKDIR /app\nCOPY input /app/input\n"


def verifier_dockerfile() -> str:
    """Text of `tests/Dockerfile`: the image of the verifier, with the answers."""
    return (
        f"FROM {PYTHON_IMAGE}\n{_install(GRADER_PACKAGES)}COPY . /tests\n"
        "RUN mkdir -p /app /logs/verifier && chmod +x /tests/test.sh\nWORKDIR /app\n"
    )


def _packages(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:  # they become part of a shell command
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?", name):
            raise TaskError(f"packages holds {name!r}; write names of distributions such as scikit-learn.")
    return names


def _install(names: tuple[str, ...]) -> str:
    """A line that installs the distributions, in the versions of this machine where it has them."""
    wanted = []
    for name in names:
        try:
            wanted.append(f"{name}=={version(name).partition('+')[0]}")
        except PackageNotFoundError:
            wanted.append(name)
    return f"RUN pip install --no-cache-dir {' '.join(wanted)}\n" if wanted else ""


def _cpus(task: Task) -> int:
    return max(1, task.threads)


def _memory_mb(task: Task) -> int:
    return max(64, math.ceil(task.memory_bytes / 1024**2))


def _section(name: str, values: Mapping[str, Any]) -> str:
    head = f"[{name}]\n" if name else ""
    return head + "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: Any) -> str:
    """A TOML value. Texts are JSON, which TOML reads, except for one character that TOML wants escaped."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
