"""The flat settings of `recipes/grpo_mle.py`, beside those of TRL's own dataclasses."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from trl_mle.config import InstrumentationConfig, RewardConfig, SandboxConfig
from trl_mle.errors import ConfigError


@dataclass
class MLEArguments:
    """Parameters of a run on machine-learning-engineering tasks.

    > Parameters that control what is asked

    Args:
        tasks (`list[str]`):
            Task names: `builtin:digits`, a task folder, or several for a mixture in equal shares.

    > Parameters that control how programs run

    Args:
        sandbox (`str`, *optional*, defaults to `"local"`):
            Where programs run. This version has `"local"`.
        sandbox_workers (`int`, *optional*):
            Programs that run at the same time, per process. Defaults to this machine's cores over its processes.
        sandbox_scratch_dir (`str`, *optional*):
            Folder on disk for what programs write. Defaults to memory, where the machine allows it.
        sandbox_isolation (`str`, *optional*, defaults to `"required"`):
            `"required"` refuses to run where programs could read the answers; `"none"` runs them all the same.
        program_time_limit_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's own.

    > Parameters that control what inserts the milestone prints (`docs/instrumentation.md`)

    Args:
        instrumenter (`str`, *optional*, defaults to `"ast"`):
            `"ast"` works from the syntax tree; `"llm"` asks a frozen language model and verifies its answers.
        instrumenter_endpoint (`str`, *optional*):
            Base URL of an OpenAI-compatible server. Without one, the model runs in this process.
        instrumenter_model (`str`, *optional*, defaults to `"Qwen/Qwen2.5-3B-Instruct"`):
            The model's name at the endpoint, or its hub id or path.
        instrumenter_key_variable (`str`, *optional*, defaults to `"OPENAI_API_KEY"`):
            Name of the environment variable that holds the endpoint's key.
        instrumenter_answer_format (`str`, *optional*, defaults to `"lines"`):
            `"lines"`: the model names line numbers. `"rewrite"`: it writes the program anew, with prints.
        instrumenter_concurrency (`int`, *optional*, defaults to `16`):
            Requests at the same time, per process.
        instrumenter_request_timeout_s (`float`, *optional*, defaults to `60.0`):
            Seconds after which one request is given up.
        instrumenter_wait_s (`float`, *optional*, defaults to `120.0`):
            Seconds that a program waits for the model before its syntax tree has to do.
        instrumenter_cache_dir (`str`, *optional*):
            Folder of the answers' cache; `"none"` keeps no answers. Defaults to the user's cache folder.

    > Parameters that control the reward

    Args:
        failure_reward (`float`, *optional*, defaults to `-10.0`):
            Reward of a completion without a valid submission and without a milestone.
        milestone_reward (`float`, *optional*, defaults to `0.1`):
            Added for each of the seven milestones that a failed program has reached.
        reward_split (`str`, *optional*, defaults to `"public"`):
            Part of the answers that is rewarded: `"public"`, or `"all"` as in the paper.
        infrastructure_retries (`int`, *optional*, defaults to `2`):
            How often a program is given to the sandbox again after an infrastructure fault.

    > Parameters that control checks and reports

    Args:
        validate_tasks (`bool`, *optional*, defaults to `True`):
            Before training, run each task's baseline and reference solution in the sandbox, once a machine.
    """

    tasks: list[str] = field(
        default_factory=list, metadata={"help": "Task names: builtin:digits, a folder, or several for a mixture."}
    )
    sandbox: str = field(default="local", metadata={"help": "Where programs run: 'local'."})
    sandbox_workers: int | None = field(
        default=None,
        metadata={"help": "Programs at the same time, per process. Default: the machine's cores over its processes."},
    )
    sandbox_scratch_dir: str | None = field(
        default=None, metadata={"help": "Folder on disk for what programs write; in memory by default."}
    )
    sandbox_isolation: str = field(
        default="required",
        metadata={
            "help": "'required' refuses to run where programs could read the answers; 'none' runs all the same."
        },
    )
    program_time_limit_s: float | None = field(
        default=None, metadata={"help": "Wall-clock limit of a program in seconds. Default: the task's own."}
    )
    instrumenter: str = field(
        default="ast", metadata={"help": "'ast' (syntax tree) or 'llm' (a frozen language model, verified)."}
    )
    instrumenter_endpoint: str | None = field(
        default=None,
        metadata={"help": "Base URL of an OpenAI-compatible server. Default: the model runs in this process."},
    )
    instrumenter_model: str = field(
        default="Qwen/Qwen2.5-3B-Instruct", metadata={"help": "Name at the endpoint, hub id or path."}
    )
    instrumenter_key_variable: str = field(
        default="OPENAI_API_KEY", metadata={"help": "Environment variable that holds the endpoint's key."}
    )
    instrumenter_answer_format: str = field(
        default="lines", metadata={"help": "'lines' (line numbers) or 'rewrite' (the program with prints)."}
    )
    instrumenter_concurrency: int = field(
        default=16, metadata={"help": "Requests to the instrumentation model at the same time, per process."}
    )
    instrumenter_request_timeout_s: float = field(
        default=60.0, metadata={"help": "Seconds after which a request to the instrumentation model is given up."}
    )
    instrumenter_wait_s: float = field(
        default=120.0,
        metadata={"help": "Seconds that a program waits for the model before its syntax tree has to do."},
    )
    instrumenter_cache_dir: str | None = field(
        default=None, metadata={"help": "Folder of the answers' cache, or 'none'. Default: the user's cache folder."}
    )
    failure_reward: float = field(default=-10.0, metadata={"help": "Reward of a failed program without a milestone."})
    milestone_reward: float = field(default=0.1, metadata={"help": "Added for each milestone of a failed program."})
    reward_split: str = field(
        default="public", metadata={"help": "Part of the answers that is rewarded: 'public' or 'all' (the paper)."}
    )
    infrastructure_retries: int = field(
        default=2, metadata={"help": "How often a program is run again after an infrastructure fault."}
    )
    validate_tasks: bool = field(
        default=True, metadata={"help": "Run each task's baseline and reference solution before training."}
    )

    def __post_init__(self):
        if not self.tasks:
            raise ConfigError(
                "`tasks` is empty. Name at least one, for example `tasks: [builtin:digits]` or `--tasks ...`."
            )
        if len(set(self.tasks)) != len(self.tasks):
            raise ConfigError(f"`tasks` names a task twice: {self.tasks}.")
        if self.sandbox != "local":
            raise ConfigError(f"`sandbox` is {self.sandbox!r}; this version has 'local'.")
        self.sandbox_config()
        self.instrumentation_config()
        self.reward_config()

    def sandbox_config(self) -> SandboxConfig:
        """The sandbox's part of the settings."""
        workers = self.sandbox_workers
        if workers is None and (processes := int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) > 1:
            workers = max(1, usable_cores() // processes)  # every process of this machine has workers of its own
        return SandboxConfig(
            workers=workers,
            scratch_dir=self.sandbox_scratch_dir,
            isolation=self.sandbox_isolation,  # type: ignore[arg-type]  # checked by SandboxConfig
            wall_s=self.program_time_limit_s,
        )

    def instrumentation_config(self) -> InstrumentationConfig:
        """The instrumenter's part of the settings."""
        return InstrumentationConfig(
            instrumenter=self.instrumenter,  # type: ignore[arg-type]  # checked by InstrumentationConfig
            endpoint=self.instrumenter_endpoint,
            model=self.instrumenter_model,
            api_key_variable=self.instrumenter_key_variable,
            answer_format=self.instrumenter_answer_format,  # type: ignore[arg-type]  # checked by InstrumentationConfig
            concurrency=self.instrumenter_concurrency,
            request_timeout_s=self.instrumenter_request_timeout_s,
            wait_s=self.instrumenter_wait_s,
            cache_dir=self.instrumenter_cache_dir,
        )

    def reward_config(self) -> RewardConfig:
        """The reward's part of the settings."""
        return RewardConfig(
            failure_reward=self.failure_reward,
            milestone_reward=self.milestone_reward,
            reward_split=self.reward_split,  # type: ignore[arg-type]  # checked by RewardConfig
            infrastructure_retries=self.infrastructure_retries,
        )


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
