"""Flat settings of the stages. Each field has its unit and its default; `__post_init__` names what cannot work."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from trl_mle.errors import ConfigError
from trl_mle.types import MILESTONES, Split


@dataclass(frozen=True)
class RewardConfig:
    """Parameters that control how an outcome becomes a reward. Defaults are the paper's.

    Args:
        failure_reward (`float`, *optional*, defaults to `-10.0`):
            Reward of a completion without a valid submission and without a milestone.
        milestone_reward (`float`, *optional*, defaults to `0.1`):
            Added for each of the seven milestones that a failed program has reached.
        reward_split (`str`, *optional*, defaults to `"public"`):
            Part of the answers whose score is the reward. `"all"` is the paper's setting; with it, the private score
            is no longer an honest one.
        infrastructure_retries (`int`, *optional*, defaults to `2`):
            How often a program is given to the sandbox again after an infrastructure fault before its row is `None`. Only
            a program that certainly had not started is: none runs twice.
    """

    failure_reward: float = -10.0
    milestone_reward: float = 0.1
    reward_split: Split = "public"
    infrastructure_retries: int = 2

    def __post_init__(self):
        for name in ("failure_reward", "milestone_reward"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"`{name}` is {getattr(self, name)}; it must be a finite number.")
        if self.milestone_reward < 0:
            raise ConfigError(f"`milestone_reward` is {self.milestone_reward}; it must not be negative.")
        best_failure = self.failure_reward + self.milestone_reward * len(MILESTONES)
        if best_failure >= -1.0:
            raise ConfigError(
                f"`failure_reward`={self.failure_reward} and `milestone_reward`={self.milestone_reward} make a failed "
                f"program with every milestone worth {best_failure:g}, but a valid submission can be worth -1. Lower "
                f"`failure_reward` below {-1.0 - self.milestone_reward * len(MILESTONES):g}."
            )
        if self.reward_split not in ("public", "all"):
            raise ConfigError(
                f"`reward_split` is {self.reward_split!r}; choose 'public' or 'all'. The private part is only reported."
            )
        if self.infrastructure_retries < 0:
            raise ConfigError(f"`infrastructure_retries` is {self.infrastructure_retries}; it must be 0 or more.")


@dataclass(frozen=True)
class SandboxConfig:
    """Parameters that control how programs are run.

    Args:
        workers (`int`, *optional*):
            Programs that run at the same time. Defaults to the number of cores that this process may use.
        isolation (`str`, *optional*, defaults to `"required"`):
            `"required"` refuses to run where programs could read the answers. `"none"` runs them all the same, with a
            warning: for machines whose programs you trust.
        wall_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's own.
        preload (`tuple[str, ...]`):
            Modules that a worker imports once, so that programs start at once.
        scratch_dir (`str`, *optional*):
            Folder on disk for what programs write. Defaults to memory where the machine allows it, and to the system's
            temporary folder elsewhere.
    """

    workers: int | None = None
    isolation: Literal["required", "none"] = "required"
    wall_s: float | None = None
    preload: tuple[str, ...] = ("numpy", "pandas", "sklearn")
    scratch_dir: str | None = None

    def __post_init__(self):
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"`workers` is {self.workers}; it must be at least 1.")
        if self.isolation not in ("required", "none"):
            raise ConfigError(f"`isolation` is {self.isolation!r}; choose 'required' or 'none'.")
        if self.wall_s is not None and not (math.isfinite(self.wall_s) and self.wall_s > 0):
            raise ConfigError(f"`wall_s` is {self.wall_s}; it must be a positive number of seconds.")


@dataclass(frozen=True)
class PoolConfig:
    """Parameters that control how programs wait for the sandbox, whichever it is.

    Args:
        concurrency (`int`, *optional*):
            Programs that are with the sandbox at the same time. Defaults to the number of its workers.
        retries (`int`, *optional*, defaults to `2`):
            How often a program is given to the sandbox again after a fault before which it certainly had not started.
        open_s (`float`, *optional*, defaults to `900.0`):
            Seconds that the sandbox may take to start.
        queue_s (`float`, *optional*):
            Seconds that a program may wait for its place. Defaults to as long as it takes.
        slack_s (`float`, *optional*, defaults to `300.0`):
            Seconds beyond the program's wall-clock limit within which the sandbox has to answer.
        cancel_s (`float`, *optional*, defaults to `30.0`):
            Seconds that a cancelled call waits for the sandbox to stop its program.
        failures (`int`, *optional*, defaults to `8`):
            Faults in a row after which the sandbox counts as down.
        cool_down_s (`float`, *optional*, defaults to `15.0`):
            Seconds after which a sandbox that is down is tried with one program; doubled after each try, up to ten times
            this.
        outage_s (`float`, *optional*, defaults to `600.0`):
            Seconds that programs wait for a sandbox that is down before they are given up.
        progress (`str`, *optional*, defaults to `"auto"`):
            The live line on stderr, on a terminal only: `"auto"` in the first process of a machine, `"on"`, `"off"`.
    """

    concurrency: int | None = None
    retries: int = 2
    open_s: float = 900.0
    queue_s: float | None = None
    slack_s: float = 300.0
    cancel_s: float = 30.0
    failures: int = 8
    cool_down_s: float = 15.0
    outage_s: float = 600.0
    progress: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self):
        for name, least in (("concurrency", 1), ("retries", 0), ("failures", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"`{name}` is {value}; it must be {least} or more.")
        for name in ("open_s", "queue_s", "slack_s", "cancel_s", "cool_down_s", "outage_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"`{name}` is {value}; it must be a positive number of seconds.")
        if self.progress not in ("auto", "on", "off"):
            raise ConfigError(f"`progress` is {self.progress!r}; choose 'auto', 'on' or 'off'.")


@dataclass(frozen=True)
class RayConfig:
    """Parameters that control how programs run on the nodes of a Ray cluster.

    Args:
        address (`str`, *optional*):
            `"host:port"` or `"auto"` of a cluster that this machine belongs to, `"ray://host:port"` from outside, or `"local"`
            for one of this machine alone. Defaults to the variable `RAY_ADDRESS`, to a cluster that this machine belongs to,
            or to a new one of this machine alone, in this order.
        workers (`int`, *optional*):
            Programs that run at the same time, on all nodes together. Defaults to what fits by CPU and memory.
        workers_per_node (`int`, *optional*):
            Most programs at the same time on one node.
        cpus_per_worker (`float`, *optional*, defaults to `1.0`):
            CPUs that are reserved for one program.
        memory_per_worker (`int`, *optional*, defaults to 2 GiB):
            Memory that is reserved for one program, in bytes. It is no limit: that is the task's.
        share (`float`, *optional*, defaults to `1.0`):
            Part of each node's CPUs and memory that this sandbox may take; for several that share a cluster.
        isolation (`str`, *optional*, defaults to `"required"`):
            As `SandboxConfig.isolation`, on every node: one that cannot hide its files takes no programs.
        wall_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's own.
        preload (`tuple[str, ...]`):
            Modules that a worker imports once, so that programs start at once.
        scratch_dir (`str`, *optional*):
            Folder on every node for the tasks' files and for what programs write. Defaults to the system's temporary
            folder, and to memory for what programs write.
        runtime_env (`dict`, *optional*):
            Ray's runtime environment of the processes on the nodes, where this package is not installed there.
        connect_s (`float`, *optional*, defaults to `30.0`):
            Seconds after which an address that does not answer is given up.
        start_s (`float`, *optional*, defaults to `300.0`):
            Seconds that nodes may take to be ready; the sandbox starts with those that are, and others join later.
        node_wait_s (`float`, *optional*, defaults to `300.0`):
            Seconds that a program waits for a node when there is none left.
        restarts (`int`, *optional*, defaults to `5`):
            How often in a row a node's process is started again before the node is left out.
    """

    address: str | None = None
    workers: int | None = None
    workers_per_node: int | None = None
    cpus_per_worker: float = 1.0
    memory_per_worker: int = 2 * 1024**3
    share: float = 1.0
    isolation: Literal["required", "none"] = "required"
    wall_s: float | None = None
    preload: tuple[str, ...] = ("numpy", "pandas", "sklearn")
    scratch_dir: str | None = None
    runtime_env: dict[str, Any] | None = None
    connect_s: float = 30.0
    start_s: float = 300.0
    node_wait_s: float = 300.0
    restarts: int = 5

    def __post_init__(self):
        if self.address is not None and not re.fullmatch(r"auto|local|(ray://)?[^\s:/]+:\d{1,5}", self.address):
            raise ConfigError(
                f"`address` of the Ray cluster is {self.address!r}; write 'host:6379', 'ray://host:10001' or 'auto'."
            )
        for name, least in (("workers", 1), ("workers_per_node", 1), ("memory_per_worker", 0), ("restarts", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"`{name}` is {value}; it must be {least} or more.")
        if not 0 < self.cpus_per_worker < math.inf:
            raise ConfigError(f"`cpus_per_worker` is {self.cpus_per_worker}; it must be a positive number.")
        if not 0 < self.share <= 1:
            raise ConfigError(f"`share` is {self.share}; it must be above 0 and at most 1.")
        SandboxConfig(isolation=self.isolation, wall_s=self.wall_s)
        for name in ("connect_s", "start_s", "node_wait_s"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"`{name}` is {getattr(self, name)}; it must be a positive number of seconds.")


@dataclass(frozen=True)
class InstrumentationConfig:
    """Parameters that control what inserts the milestone prints.

    Args:
        instrumenter (`str`, *optional*, defaults to `"ast"`):
            `"ast"` works from the syntax tree and needs no model. `"llm"` asks a frozen language model and verifies what it
            says; whatever fails is left to `"ast"`.

    > Parameters that control which model is asked (`"llm"` only)

    Args:
        endpoint (`str`, *optional*):
            Base URL of an OpenAI-compatible server, such as `http://127.0.0.1:8001/v1`. `None` loads `model` into this
            process with transformers.
        model (`str`, *optional*, defaults to `"Qwen/Qwen2.5-3B-Instruct"`):
            Name of the model at the endpoint, or hub id or path of a model for this process.
        api_key_variable (`str`, *optional*, defaults to `"OPENAI_API_KEY"`):
            Environment variable that holds the key of the endpoint. The key itself is no setting.
        answer_format (`str`, *optional*, defaults to `"lines"`):
            `"lines"` asks for the lines that reach milestones, `"rewrite"` for the whole program with prints, as in the paper.
        max_tokens (`int`, *optional*):
            Longest answer in tokens. Defaults to 500 for `"lines"` and 2,048 for `"rewrite"`.

    > Parameters that control how long an answer is waited for (`"llm"` only)

    Args:
        concurrency (`int`, *optional*, defaults to `16`):
            Requests at the same time, per process.
        request_timeout_s (`float`, *optional*, defaults to `60.0`):
            Seconds after which one request is given up.
        wait_s (`float`, *optional*, defaults to `120.0`):
            Seconds that one program waits for its answer, queue and retries included, before the fallback is used.
        retries (`int`, *optional*, defaults to `2`):
            How often a request is sent again after a transport error, a 429 or a 5xx.
        probe_after_s (`float`, *optional*, defaults to `30.0`):
            Seconds after which an endpoint that is down is tried again; doubled after each try, up to ten times this.
        cache_dir (`str`, *optional*):
            Folder of the answers' cache; processes may share it. Defaults to `trl_mle/instrumentation` in the user's cache
            folder. `"none"` keeps no answers.
    """

    instrumenter: Literal["ast", "llm"] = "ast"
    endpoint: str | None = None
    model: str = "Qwen/Qwen2.5-3B-Instruct"
    api_key_variable: str = "OPENAI_API_KEY"
    answer_format: Literal["lines", "rewrite"] = "lines"
    max_tokens: int | None = None
    concurrency: int = 16
    request_timeout_s: float = 60.0
    wait_s: float = 120.0
    retries: int = 2
    probe_after_s: float = 30.0
    cache_dir: str | None = None

    def __post_init__(self):
        if self.instrumenter not in ("ast", "llm"):
            raise ConfigError(f"`instrumenter` is {self.instrumenter!r}; choose 'ast' or 'llm'.")
        if self.answer_format not in ("lines", "rewrite"):
            raise ConfigError(f"`answer_format` is {self.answer_format!r}; choose 'lines' or 'rewrite'.")
        if not self.model:
            raise ConfigError(
                "`model` of the instrumenter is empty; name a model, such as 'Qwen/Qwen2.5-3B-Instruct'."
            )
        if self.endpoint is not None and not re.match(r"https?://[^/@\s]+(?:/[^@\s]*)?$", self.endpoint):
            raise ConfigError(
                "`endpoint` of the instrumenter must be a URL such as 'http://127.0.0.1:8001/v1', without user or password "
                "(keys belong into the environment)."
            )
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_variable) is None:  # it may be a key: not shown
            raise ConfigError(
                "`api_key_variable` is not the name of an environment variable. Write its name, such as 'OPENAI_API_KEY', "
                "never the key itself."
            )
        for name in ("request_timeout_s", "wait_s", "probe_after_s"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"`{name}` is {getattr(self, name)}; it must be a positive number of seconds.")
        for name, least in (("concurrency", 1), ("retries", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"`{name}` is {getattr(self, name)}; it must be {least} or more.")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError(f"`max_tokens` is {self.max_tokens}; it must be at least 1.")


@dataclass(frozen=True)
class E2BConfig:
    """Parameters that control how programs are run in E2B sandboxes. The key is no setting: it comes from the environment
    variable `E2B_API_KEY`.

    > Parameters that control which sandboxes there are

    Args:
        template (`str`, *optional*):
            Name or id of the template. Defaults to E2B's code interpreter. It needs Python 3.11 or newer and the packages
            that tasks allow; its memory and cores are fixed when it is built.
        max_sandboxes (`int`, *optional*, defaults to `20`):
            Sandboxes at the same time, per process; with several processes, divide your account's limit by them.
        reuse (`bool`, *optional*, defaults to `True`):
            Whether a sandbox runs one program after the other. `False` gives each program a sandbox of its own.
        session_s (`float`, *optional*, defaults to `3600.0`):
            Seconds after which a sandbox ends by itself, at most what your account allows. It must hold the longest program
            and three minutes more.

    > Parameters that control how a program runs

    Args:
        wall_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's own.
        memory_bytes (`int`, *optional*):
            Limit of resident memory of a program in bytes. Defaults to the task's own.
        isolation (`str`, *optional*, defaults to `"required"`):
            `"required"` refuses to run where programs could forge what is reported about them. `"none"` runs them all the
            same, with a warning.
        user (`str`, *optional*, defaults to `"root"`):
            User that runs the programs' supervisor. Programs themselves have no privileges.
        python (`str`, *optional*, defaults to `"python3"`):
            Interpreter for the programs, inside the sandbox.
        preload (`tuple[str, ...]`):
            Modules that each sandbox imports once, so that programs start at once.

    > Parameters that control the connection

    Args:
        domain (`str`, *optional*):
            Domain of a self-hosted E2B. Defaults to the SDK's own, `E2B_DOMAIN` or the cloud.
        api_url (`str`, *optional*):
            URL of the API, where it does not follow from the domain.
        sandbox_url (`str`, *optional*):
            URL of the proxy to all sandboxes, where it does not follow from the domain.
        request_timeout_s (`float`, *optional*, defaults to `60.0`):
            Seconds after which one request is given up, its retries included.
    """

    template: str | None = None
    max_sandboxes: int = 20
    reuse: bool = True
    session_s: float = 3600.0
    wall_s: float | None = None
    memory_bytes: int | None = None
    isolation: Literal["required", "none"] = "required"
    user: str = "root"
    python: str = "python3"
    preload: tuple[str, ...] = ("numpy", "pandas", "sklearn")
    domain: str | None = None
    api_url: str | None = None
    sandbox_url: str | None = None
    request_timeout_s: float = 60.0

    def __post_init__(self):
        if self.max_sandboxes < 1:
            raise ConfigError(f"`max_sandboxes` is {self.max_sandboxes}; it must be at least 1.")
        if self.isolation not in ("required", "none"):
            raise ConfigError(f"`isolation` is {self.isolation!r}; choose 'required' or 'none'.")
        for name in ("session_s", "request_timeout_s", "wall_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"`{name}` is {value}; it must be a positive number of seconds.")
        if self.memory_bytes is not None and self.memory_bytes < 1:
            raise ConfigError(f"`memory_bytes` is {self.memory_bytes}; it must be a positive number of bytes.")
        for name in ("api_url", "sandbox_url"):
            value = getattr(self, name)
            if value is not None and not re.match(
                r"https?://[^/@\s]+(?:/[^@\s]*)?$", value
            ):  # may hold a password: not shown
                raise ConfigError(
                    f"`{name}` must be a URL such as 'https://api.e2b.example', without user or password (the key belongs "
                    "into the environment variable `E2B_API_KEY`)."
                )
        for name in ("user", "python"):
            if not getattr(self, name):
                raise ConfigError(f"`{name}` is empty; leave it out for its default.")
