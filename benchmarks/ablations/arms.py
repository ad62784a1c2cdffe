"""`Study`: the arms, tasks and shared settings of `arms.yaml`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from trl_mle.errors import ConfigError

FILE = Path(__file__).with_name("arms.yaml")
KINDS = ("grpo", "plain", "refit", "sample")
BUDGETS = ("programs", "clock")
ALL = "all"
"""Task of a run that trains one policy on every task, and measures transfer to the held-out ones."""


@dataclass(frozen=True)
class Arm:
    """One way to train, or not to train, the demo policy."""

    name: str
    label: str
    kind: str = "grpo"
    """`grpo`: `trl-mle grpo`. `plain`: `plain.py`. `refit`: `trl-mle sft` on the programs of the arm `source`. `sample`: none."""
    flags: Mapping[str, Any] = field(default_factory=dict)
    against: str | None = None
    """Arm that it is compared to beside `plain`."""
    source: str | None = None
    policy: str = "one-answer"
    """Starting policy: `one-answer` or `agent`."""
    tasks: tuple[str, ...] | None = None
    """The only tasks that the arm is run on; `None` for each of the study."""
    budgets: tuple[str, ...] = BUDGETS
    episode_programs: int = 0
    """Programs per rollout of an agent; 0 for one program per completion."""
    programs_per_update: int = 32
    wall_limit_s: float | None = None
    """Enforced wall-clock limit of a program in seconds; `None` for that of the study."""


@dataclass(frozen=True)
class Study:
    """Content of `arms.yaml`."""

    arms: Mapping[str, Arm]
    flags: Mapping[str, Any]
    each: tuple[str, ...]
    held_out: tuple[str, ...]
    generated_flags: Mapping[str, Any]
    wall_limit_s: float

    def tasks_of(self, arm: Arm, asked: list[str]) -> list[str]:
        """Those of the asked tasks that the arm is run on."""
        return [task for task in asked if arm.tasks is None or task in arm.tasks]

    def limit_of(self, arm: Arm) -> float:
        """Enforced wall-clock limit of a program in seconds."""
        return self.wall_limit_s if arm.wall_limit_s is None else arm.wall_limit_s


def read_study(path: Path = FILE) -> Study:
    """Read and check the arms.

    Raises:
        ConfigError: an arm has an unknown key, kind or reference.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    arms: dict[str, Arm] = {}
    for name, entry in content["arms"].items():
        arms[name] = _arm(name, entry, arms)
    for arm in arms.values():
        for other in (arm.against, arm.source):
            if other is not None and other not in arms:
                raise ConfigError(f"Arm {arm.name!r} names {other!r}, which is no arm of {path.name}.")
    tasks = content["tasks"]
    return Study(
        arms,
        content["flags"],
        tuple(tasks["each"]),
        tuple(tasks["held_out"]),
        content["generated"]["flags"],
        float(content["wall_limit_s"]),
    )


def _arm(name: str, entry: Mapping[str, Any], earlier: Mapping[str, Arm]) -> Arm:
    """An arm with the flags and the kind of its base, which stands above it."""
    known = {item.name for item in fields(Arm)} - {"name"} | {"base"}
    if unknown := set(entry) - known:
        raise ConfigError(f"Arm {name!r} has the unknown keys {sorted(unknown)}; known are {sorted(known)}.")
    base = entry.get("base")
    if base is not None and base not in earlier:
        raise ConfigError(f"Arm {name!r} has the base {base!r}, which must be an arm above it.")
    values = {key: value for key, value in entry.items() if key != "base"}
    for key in ("tasks", "budgets"):
        if key in values:
            values[key] = tuple(values[key])
    if base is not None:
        values["flags"] = {**earlier[base].flags, **values.get("flags", {})}
        values.setdefault("kind", earlier[base].kind)
    arm = Arm(name, **values)
    if arm.kind not in KINDS:
        raise ConfigError(f"Arm {name!r} is of the kind {arm.kind!r}; choose one of {KINDS}.")
    if (arm.kind == "refit") != (arm.source is not None):
        raise ConfigError(f"Arm {name!r}: `source` belongs to arms of the kind `refit`, which need it.")
    if not set(arm.budgets) <= set(BUDGETS):
        raise ConfigError(f"Arm {name!r} has the budgets {arm.budgets}; choose from {BUDGETS}.")
    return arm
