"""Settings of an evaluation: what decides which samples are drawn and how, and waiting times."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

from trl_mle.config.base import check_choice, check_least
from trl_mle.errors import ConfigError
from trl_mle.evaluation.sample_store import SampleKind
from trl_mle.language_models.sampling.policy import SEEDS

Mode = Literal["scratch", "improve", "agent"]


@dataclass(frozen=True)
class EvaluationSettings:
    """Parameters that control which samples an evaluation draws.

    Args:
        n (`int`, *optional*, defaults to `128`):
            Samples per policy and task.
        mode (`str`, *optional*, defaults to `"scratch"`):
            `"scratch"`: every prompt is the task alone. `"improve"`: the first half is from scratch, the other half improves the
            best program of the first one, chosen by its public score. `"agent"`: every sample is an episode of several turns.
        seed (`int`, *optional*, defaults to `0`):
            Seed of all samples. Equal sample numbers of a task have equal seeds for every policy.
        temperature (`float`, *optional*, defaults to `1.0`):
            Temperature of sampling; 0 takes the most likely token.
        top_p (`float`, *optional*, defaults to `1.0`):
            Share of the probability that is sampled from.
        max_tokens (`int`, *optional*, defaults to `4096`):
            Longest completion, in tokens.
        max_prompt_tokens (`int`, *optional*):
            Most tokens of a prompt that shows an earlier program. Defaults to what the model's context leaves.
        fault_retries (`int`, *optional*, defaults to `2`):
            How often a sample is scored again after an infrastructure fault. A resumed evaluation tries again as often.
    """

    n: int = 128
    mode: Mode = "scratch"
    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 4096
    max_prompt_tokens: int | None = None
    fault_retries: int = 2

    def __post_init__(self):
        check_choice("mode", self.mode, ("scratch", "improve", "agent"))
        check_least(self, n=1, max_tokens=1, max_prompt_tokens=1, fault_retries=0)
        if self.mode == "improve" and self.n < 2:
            raise ConfigError(
                "`n` is 1; with `mode` 'improve' it must be 2 or more, because half of the samples are from scratch."
            )
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(f"`temperature` is {self.temperature}; it must be 0 or more.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"`top_p` is {self.top_p}; it must be above 0 and at most 1.")

    def counts(self) -> dict[SampleKind, int]:
        """Kind of prompt -> samples per policy and task."""
        if self.mode != "improve":
            return {self.mode: self.n}
        return {"scratch": self.n - self.n // 2, "improve": self.n // 2}

    def seed_of(self, task_id: str, kind: SampleKind, number: int = 0, message: int = 0) -> int:
        """Seed of a sample, or of a later message of an episode: the same for every policy."""
        text = f"{self.seed}\0{task_id}\0{kind}" + (f"\0{message}" if message else "")
        digest = hashlib.sha256(text.encode()).digest()
        return (int.from_bytes(digest[:8], "big") + number) % SEEDS


@dataclass(frozen=True)
class EvaluationTiming:
    """Waiting times of an evaluation."""

    outage_s: float = 300.0
    """Seconds without any answer of a policy after which its evaluation ends. It can be resumed."""
    pause_s: float = 5.0
    """Pause after a request without an answer, in seconds."""
