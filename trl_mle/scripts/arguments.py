"""`MLEArguments`: the keys of YAML files, which are flags too, built from the stages' configurations.

A setting is written once, as a field of its stage's configuration in `trl_mle/config`. `KEYS` of that class says under which key
recipes can set it. Type, default and help text of the key come from the field and its docstring.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_origin, get_type_hints

from trl_mle.config import (
    BackendConfig,
    CurriculumConfig,
    EpisodeBudget,
    ExperienceConfig,
    InstrumentationConfig,
    Key,
    PoolConfig,
    RewardConfig,
    RunContext,
)
from trl_mle.errors import ConfigError
from trl_mle.sandboxes.backends import BACKENDS, check_backend
from trl_mle.scripts.checks import check_time_limit
from trl_mle.types import LARGEST, TaskSpec

STAGES: tuple[type, ...] = (
    *(backend.config for backend in BACKENDS.values()),
    PoolConfig,
    InstrumentationConfig,
    RewardConfig,
    ExperienceConfig,
    CurriculumConfig,
)
"""Configurations whose `KEYS` are keys of a recipe. Two of them may have the same key: each gets its value."""

Config = TypeVar("Config", PoolConfig, InstrumentationConfig, RewardConfig, ExperienceConfig, CurriculumConfig)

BACKEND_NAMES = ", ".join(map(repr, BACKENDS))


def _keys(config: type) -> dict[str, Key]:
    """Field -> key of a stage's configuration."""
    keys: Mapping[str, str | Key] = config.KEYS  # type: ignore[attr-defined]  # every class of STAGES has them
    return {name: Key(key) if isinstance(key, str) else key for name, key in keys.items()}


@cache
def _field_docs(config: type) -> dict[str, str]:
    """Field -> text of the "Args:" sections of a class, on one line."""
    entries = re.findall(
        r"^ {8}(\w+) \([^\n]*\):\n((?: {12}[^\n]*\n?)+)", (config.__doc__ or "").replace("\n\n", "\n"), re.MULTILINE
    )
    return {name: " ".join(text.split()) for name, text in entries}


def _argument(config: type, name: str, key: Key) -> tuple[str, Any, Any]:
    """Name, type and `dataclasses.field` of the recipe's argument for one field of a configuration."""
    type_ = get_type_hints(config)[name]
    if get_origin(type_) is Literal:  # the configuration checks the value: its error message also fits YAML
        type_ = str
    default = next(item.default for item in fields(config) if item.name == name)
    text = _field_docs(config).get(name, "").replace("`", "").replace("%", "%%")
    if key.scale is not None:
        type_ = float
        text = text.replace("in bytes", "in GiB")
    if key.if_unset is not None:
        type_, default, text = type_ | None, None, f"{text} Defaults to {key.if_unset}."
    assert default is not MISSING, f"{config.__name__}.{name} is a key of recipes and needs a default"
    return key.name, type_, field(default=default, metadata={"help": text})


def _arguments() -> list[tuple[str, Any, Any]]:
    """Every key of `STAGES` once; the first class that has a key describes it."""
    arguments: dict[str, tuple[str, Any, Any]] = {}
    for config in STAGES:
        for name, key in _keys(config).items():
            if key.name not in arguments:
                arguments[key.name] = _argument(config, name, key)
    return list(arguments.values())


_StageArguments: Any = make_dataclass("_StageArguments", _arguments())


@dataclass
class MLEArguments(_StageArguments):
    """Parameters of a run on machine-learning-engineering tasks, beside those of TRL's dataclasses.

    The fields of this class concern the run as a whole. All others are inherited, one per entry of `KEYS` in
    `SandboxConfig`, `RayConfig`, `E2BConfig`, `PoolConfig`, `InstrumentationConfig`, `RewardConfig`, `ExperienceConfig` and
    `CurriculumConfig`, where they are documented.

    Args:
        tasks (`list[str]`):
            Task names: `builtin:digits`, a task folder, or several for a mixture in equal shares.
        sandbox_backend (`str`, *optional*, defaults to `"local"`):
            Where programs run (`docs/sandboxes.md`): a name in `trl_mle.sandboxes.backends.BACKENDS`.
        program_time_limit_s (`float`, *optional*):
            Wall-clock limit of a program in seconds, which prompts state. Defaults to the task's own.
        validate_tasks (`bool`, *optional*, defaults to `True`):
            Whether each task's baseline and reference solution run before training, once per machine.
        agent_turns (`int`, *optional*, defaults to `0`):
            Programs that an agent may run per rollout, as tool calls (`docs/agents.md`). 0: a completion is one program.
        agent_seconds (`float`, *optional*):
            Seconds of execution of all programs of a rollout together. Defaults to `agent_turns` times the limit of a program.
        agent_observation_characters (`int`, *optional*, defaults to `2000`):
            Longest answer of a tool, in characters.
        agent_keep_mib (`float`, *optional*, defaults to `8.0`):
            MiB of the files that a program leaves for the next one of its rollout. 0: none.
        agent_public_score (`bool`, *optional*, defaults to `False`):
            Whether an agent is told the public score of its submissions, which decides the reward.
    """

    tasks: list[str] = field(
        default_factory=list, metadata={"help": "Task names: builtin:digits, a folder, or several for a mixture."}
    )
    sandbox_backend: str = field(default="local", metadata={"help": f"Where programs run: {BACKEND_NAMES}."})
    program_time_limit_s: float | None = field(
        default=None, metadata={"help": "Wall-clock limit of a program in seconds. Defaults to the task's own."}
    )
    validate_tasks: bool = field(
        default=True, metadata={"help": "Run each task's baseline and reference solution before training."}
    )
    agent_turns: int = field(
        default=0,
        metadata={
            "help": "Programs that an agent may run per rollout, as tool calls. 0: a completion is one program."
        },
    )
    agent_seconds: float | None = field(
        default=None,
        metadata={
            "help": "Seconds of execution of all programs of a rollout together. Defaults to agent_turns times the limit of a "
            "program."
        },
    )
    agent_observation_characters: int = field(
        default=2000, metadata={"help": "Longest answer of a tool, in characters."}
    )
    agent_keep_mib: float = field(
        default=8.0,
        metadata={"help": "MiB of the files that a program leaves for the next one of its rollout. 0: none."},
    )
    agent_public_score: bool = field(
        default=False,
        metadata={
            "help": "Tell an agent the public score of its submissions. It decides the reward, so an agent may climb on it "
            "without a validation of its own."
        },
    )

    def __post_init__(self):
        if isinstance(self.tasks, str):  # one task, given in Python
            self.tasks = [self.tasks]
        for item in fields(self):
            if getattr(self, item.name) == "":
                raise ConfigError(f"`{item.name}` is empty. Give a value, or leave it out for its default.")
        if not self.tasks or not all(self.tasks):
            raise ConfigError(
                "`tasks` is empty. Name at least one, for example `tasks: [builtin:digits]` or `--tasks ...`, or start from a "
                "recipe: `--config quickstart/grpo`."
            )
        if len(set(self.tasks)) != len(self.tasks):
            raise ConfigError(f"`tasks` names a task twice: {self.tasks}.")
        check_time_limit(self.program_time_limit_s)
        check_backend(self.sandbox_backend)
        self.episode_budget()
        for backend in BACKENDS.values():  # settings of a backend that is not used may still be wrong
            with _errors_name_keys(backend.config):
                backend.config.for_run(self._settings_of(backend.config), RunContext())
        self.pool_config()
        self.instrumentation_config()
        self.reward_config()
        self.experience_config()
        weights = self.curriculum_config().task_weights
        if weights is not None and len(weights) != len(self.tasks):
            raise ConfigError(
                f"`task_weights` has {len(weights)} numbers for {len(self.tasks)} `tasks`. Give one per task."
            )

    def backend_config(self, tasks: Sequence[TaskSpec] = (), alone: bool = False) -> BackendConfig:
        """Settings of the chosen backend.

        Args:
            tasks (sequence of [`TaskSpec`], *optional*):
                Tasks of the run; a backend may reserve what they need.
            alone (`bool`, *optional*, defaults to `False`):
                Whether one process of the training runs all programs.
        """
        config = BACKENDS[self.sandbox_backend].config
        run = RunContext(tasks) if alone else RunContext(tasks, _count("WORLD_SIZE"), _count("LOCAL_WORLD_SIZE"))
        return config.for_run(self._settings_of(config), run)

    def pool_config(self) -> PoolConfig:
        """Settings of the queue in front of the sandbox."""
        return self._made(PoolConfig)

    def instrumentation_config(self) -> InstrumentationConfig:
        """Settings of the instrumenter."""
        return self._made(InstrumentationConfig)

    def reward_config(self) -> RewardConfig:
        """Settings of the reward."""
        return self._made(RewardConfig)

    def experience_config(self) -> ExperienceConfig:
        """Settings of self-improvement."""
        return self._made(ExperienceConfig)

    def curriculum_config(self) -> CurriculumConfig:
        """Settings of the curriculum."""
        return self._made(CurriculumConfig)

    def episode_budget(self) -> EpisodeBudget | None:
        """What a rollout of an agent may use; `None` if the run has no agent.

        Raises:
            ConfigError: a number is out of range.
        """
        if self.agent_turns < 0:
            raise ConfigError(f"`agent_turns` is {self.agent_turns}; it must be 0 or more.")
        if not 0 <= self.agent_keep_mib <= LARGEST / 1024**2:
            raise ConfigError(f"`agent_keep_mib` is {self.agent_keep_mib}; it must be a number of MiB from 0 on.")
        try:
            budget = EpisodeBudget(
                runs=self.agent_turns or 1,
                seconds=self.agent_seconds,
                observation_characters=self.agent_observation_characters,
                keep_bytes=int(self.agent_keep_mib * 1024**2),
            )
        except ConfigError as error:
            raise ConfigError(re.sub(r"`(seconds|observation_characters)`", r"`agent_\1`", str(error))) from error
        return budget if self.agent_turns else None

    def _made(self, config: type[Config]) -> Config:
        """A stage's configuration with the values of this run."""
        with _errors_name_keys(config):
            return config(**self._settings_of(config))

    def _settings_of(self, config: type) -> dict[str, Any]:
        """Field -> value of a stage's configuration; fields whose key is not set are left to the configuration."""
        settings = {}
        for name, key in _keys(config).items():
            value = getattr(self, key.name)
            if value is not None:
                if key.scale is not None and not abs(value) <= sys.float_info.max / key.scale:
                    raise ConfigError(f"`{key.name}` is {value}; it must be a finite number.")
                settings[name] = value if key.scale is None else int(value * key.scale)
        return settings


@contextmanager
def _errors_name_keys(config: type) -> Iterator[None]:
    """Let errors of a stage's configuration name the key of the recipe in place of the configuration's own field."""
    try:
        yield
    except ConfigError as error:
        message = str(error)
        for name, key in _keys(config).items():
            message = message.replace(f"`{name}`", f"`{key.name}`")
        raise ConfigError(message) from error


def _count(variable: str) -> int:
    """A number of processes, as the launcher sets it."""
    return int(os.environ.get(variable, "1"))
