"""Settings of self-improvement: prompts that show an earlier solution of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from trl_mle.config.base import Keys, check_choice, check_least
from trl_mle.errors import ConfigError

ParentStrategy = Literal["latest", "uniform", "score_weighted", "diverse", "learnability", "predicted"]
PARENT_STRATEGIES: tuple[ParentStrategy, ...] = (
    "latest",
    "uniform",
    "score_weighted",
    "diverse",
    "learnability",
    "predicted",
)


@dataclass(frozen=True)
class ExperienceConfig:
    """Parameters that control self-improvement prompts and the store of earlier solutions (arXiv 2509.01684).

    Args:
        improve_fraction (`float`, *optional*, defaults to `0.0`):
            Share of the groups whose prompt shows an earlier valid solution of the run and asks for a better one. The paper
            uses 0.5. 0 asks for solutions from scratch only.
        debug_fraction (`float`, *optional*, defaults to `0.0`):
            Share of the groups whose prompt shows an earlier program that failed, with its error, as none does in the paper.
        parent_strategy (`str`, *optional*, defaults to `"score_weighted"`):
            How the earlier valid solution is chosen: `"latest"`, `"uniform"`, `"score_weighted"`, `"diverse"`,
            `"learnability"` or `"predicted"`.
        max_prompt_tokens (`int`, *optional*, defaults to `1024`):
            Longest prompt that shows an earlier solution, in tokens. Output, comments and plan are cut to fit. If the program
            alone is too long, another one is taken, or the prompt asks for a solution from scratch.
        retrieved_examples (`int`, *optional*, defaults to `0`):
            Most solutions of similar tasks that a prompt of any kind shows. They come from the run's store: other `tasks` of the
            run, and `retrieved_tasks`. Examples that `max_prompt_tokens` leaves no room for are left out.
        retrieved_form (`str`, *optional*, defaults to `"plan"`):
            `"plan"` shows the words of such a solution, `"program"` its code, too.
        retrieved_tasks (`list[str]`, *optional*):
            Names of further tasks, whose solutions in `experience_from` may be shown. The run does not train on them.
        experience_path (`str`, *optional*):
            File of the run's store. Defaults to `experience.sqlite` in `output_dir`. Give a path on a local disk if
            `output_dir` is on a network file system.
        experience_from (`str`, *optional*):
            `output_dir` of another run, its store or an export of it: the experience that a new run starts with.
    """

    KEYS: ClassVar[Keys] = {
        "improve_fraction": "improve_fraction",
        "debug_fraction": "debug_fraction",
        "parent_strategy": "parent_strategy",
        "max_prompt_tokens": "max_prompt_tokens",
        "retrieved_examples": "retrieved_examples",
        "retrieved_form": "retrieved_form",
        "retrieved_tasks": "retrieved_tasks",
        "experience_path": "experience_path",
        "experience_from": "experience_from",
    }

    improve_fraction: float = 0.0
    debug_fraction: float = 0.0
    parent_strategy: ParentStrategy = "score_weighted"
    max_prompt_tokens: int = 1024
    retrieved_examples: int = 0
    retrieved_form: Literal["plan", "program"] = "plan"
    retrieved_tasks: list[str] | None = None
    experience_path: str | None = None
    experience_from: str | None = None

    def __post_init__(self):
        for name in ("improve_fraction", "debug_fraction"):
            value = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not 0.0 <= value <= 1.0:
                raise ConfigError(f"`{name}` is {value!r}; it must be a number from 0 to 1.")
        if self.improve_fraction + self.debug_fraction > 1.0:
            raise ConfigError(
                f"`improve_fraction`={self.improve_fraction} and `debug_fraction`={self.debug_fraction} are more than 1 "
                "together. Lower one of them."
            )
        check_choice("parent_strategy", self.parent_strategy, PARENT_STRATEGIES)
        check_choice("retrieved_form", self.retrieved_form, ("plan", "program"))
        check_least(self, max_prompt_tokens=1, retrieved_examples=0)
        if self.retrieved_tasks and not (self.retrieved_examples and self.experience_from):
            raise ConfigError(
                f"`retrieved_tasks` is {self.retrieved_tasks}, whose solutions come from `experience_from` and are shown with "
                "`retrieved_examples`. Set all three."
            )

    @property
    def is_used(self) -> bool:
        """Whether any prompt shows an earlier solution, so that the run has a store."""
        return self.improve_fraction + self.debug_fraction > 0.0 or self.retrieved_examples > 0

    @property
    def shares(self) -> dict[str, float]:
        """Kind of prompt -> share of the groups."""
        # Scratch stands first: a run begins without earlier solutions.
        scratch = 1.0 - self.improve_fraction - self.debug_fraction
        return {"scratch": scratch, "improve": self.improve_fraction, "debug": self.debug_fraction}
