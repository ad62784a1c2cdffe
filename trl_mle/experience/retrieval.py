"""Retrieval: the best solutions of similar tasks, to be shown in a prompt.

Retrieval-augmented reinforcement learning gives the policy what helped elsewhere (Goyal et al., arXiv 2202.08417). In-context
abstraction learning (ICAL, Sarch et al., arXiv 2406.14596) shows what is general in a solution instead of every detail. Here
that is the plan, which a policy has written beside its program.

How alike two tasks are follows from public facts alone: metric, kind of target, size and columns of the train file, packages. What
is shown holds no score of the private part.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from trl_mle.errors import TaskError
from trl_mle.experience.demonstrations import Messages
from trl_mle.prompts import PromptBudget
from trl_mle.prompts.quoting import clean_code, clean_output, escape_tokens, fenced
from trl_mle.special_tokens import escape
from trl_mle.text_tables import is_csv, separator_of
from trl_mle.types import Outcome, TaskSpec

if TYPE_CHECKING:
    import pandas as pd

    from trl_mle.experience.store import ExperienceStore

FAMILIES = {
    **dict.fromkeys(("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "matthews_corrcoef"), "labels"),
    **dict.fromkeys(("log_loss", "roc_auc"), "probabilities"),
    **dict.fromkeys(("rmse", "rmsle", "mae", "median_absolute_error", "r2", "r2_clipped"), "numbers"),
    "jaccard": "texts",
}
"""Metric -> what is predicted."""
READ_ROWS = 2000
"""Rows of the train file from which its facts are taken."""
WEIGHTS = {"metric": 2.0, "target": 3.0, "columns": 2.0, "size": 1.0, "packages": 1.0}
"""How much each kind of fact counts in the similarity."""
MAX_CHARACTERS = 6000
"""Longest section with examples, in characters."""


@dataclass(frozen=True)
class TaskFacts:
    """Public facts of a task by which it is compared with others."""

    metric: str
    target: Literal["number", "two classes", "classes"]
    size_bytes: int
    """Size of the train file."""
    columns: int
    """Columns of the train file without id and target."""
    numeric_share: float
    """Share of these that hold numbers."""
    text_share: float
    """Share of these that hold texts, mostly different ones."""
    packages: frozenset[str]


def is_comparable(task: TaskSpec) -> bool:
    """Whether `task` has what facts are taken from: a train file of text that holds its targets."""
    return task.train_path is not None and is_csv(task.train_path) and bool(task.target_columns)


@lru_cache(maxsize=256)
def facts_of(task: TaskSpec) -> TaskFacts:
    """Facts of `task`, from its description and the first rows of the train file.

    Raises:
        TaskError: the train file cannot be read.
    """
    import pandas as pd

    path = task.train_path
    if path is None or not is_comparable(task):
        raise TaskError(f"task {task.id!r} cannot be compared with other tasks: it has no CSV file with its targets.")
    try:
        table = pd.read_csv(path, sep=separator_of(path), nrows=READ_ROWS)
        size = path.stat().st_size
        target = table[task.target_column]
    except (OSError, ValueError, KeyError) as error:
        raise TaskError(f"{path} of task {task.id!r} cannot be compared with other tasks: {error}") from error
    features = table.drop(columns=[*filter(None, (task.id_column,)), *task.target_columns], errors="ignore")
    numeric = [pd.api.types.is_numeric_dtype(features[name]) for name in features]
    texts = [not number and _is_text(features[name]) for name, number in zip(features, numeric, strict=True)]
    columns = max(len(numeric), 1)
    kind: Literal["number", "two classes", "classes"] = (
        "number" if FAMILIES.get(task.metric) == "numbers" else "two classes" if target.nunique() <= 2 else "classes"
    )
    return TaskFacts(
        task.metric, kind, size, len(numeric), sum(numeric) / columns, sum(texts) / columns, frozenset(task.packages)
    )


def similarity(one: TaskFacts, other: TaskFacts) -> float:
    """How alike two tasks are, from 0 to 1 for equal facts. The order of the two does not matter."""
    family = FAMILIES.get(one.metric) is not None and FAMILIES.get(one.metric) == FAMILIES.get(other.metric)
    number = (one.target == "number") == (other.target == "number")
    union = one.packages | other.packages
    parts = {
        "metric": 1.0 if one.metric == other.metric else 0.5 if family else 0.0,
        "target": 1.0 if one.target == other.target else 0.5 if number else 0.0,
        "columns": (
            3.0
            - abs(one.numeric_share - other.numeric_share)
            - abs(one.text_share - other.text_share)
            - _distance(one.columns, other.columns)
        )
        / 3,
        "size": 1.0 - _distance(one.size_bytes, other.size_bytes),
        "packages": len(one.packages & other.packages) / len(union) if union else 1.0,
    }
    return sum(WEIGHTS[name] * value for name, value in parts.items()) / sum(WEIGHTS.values())


def retrieve(
    store: ExperienceStore, task: TaskSpec, others: Mapping[str, TaskSpec], count: int = 2, least: float = 0.6
) -> list[Outcome]:
    """The best solutions of the tasks that are most like `task`, one of each, the most similar task first.

    A solution of `task` itself is none: improvement prompts show those. Tasks without a train file of text are left out.

    Args:
        store ([`ExperienceStore`]):
            Where solutions are looked up.
        task ([`TaskSpec`]):
            The task to be solved.
        others (mapping from `str` to [`TaskSpec`]):
            Task id -> task, of those tasks whose solutions may be shown.
        count (`int`, *optional*, defaults to `2`):
            Most solutions.
        least (`float`, *optional*, defaults to `0.6`):
            Similarity that a task must have, see [`similarity`].

    Returns:
        `list[Outcome]`: at most `count` valid outcomes, without private grade and instrumentation.
    """
    if not is_comparable(task):
        return []
    facts = facts_of(task)
    known = {id_: other for id_, other in others.items() if id_ != task.id and is_comparable(other)}
    alike = sorted(
        ((similarity(facts, facts_of(other)), id_) for id_, other in known.items()),
        key=lambda pair: (-pair[0], pair[1]),
    )
    found: list[Outcome] = []
    for likeness, id_ in alike:
        if likeness < least or len(found) == count:
            break
        found += [
            replace(best.outcome, private=None, instrumented=None)
            for best in store.best(id_, 1)
            if best.outcome.kind == "valid" and best.outcome.program is not None
        ]
    return found


def examples_section(
    examples: Sequence[Outcome],
    titles: Mapping[str, str],
    form: Literal["plan", "program"] = "plan",
    characters: int = MAX_CHARACTERS,
) -> str:
    """The text for a prompt that shows `examples`; empty if there is nothing to show.

    An example that does not fit is left out as a whole, and so is what would follow: half a program teaches nothing. The texts
    come from a policy: whatever could open a turn or end the code block is escaped.

    Args:
        examples (sequence of [`Outcome`]):
            Solutions of other tasks, the most useful one first.
        titles (mapping from `str` to `str`):
            Task id -> title.
        form (`str`, *optional*, defaults to `"plan"`):
            `"plan"` shows the words alone, `"program"` the code, too.
        characters (`int`, *optional*, defaults to `6000`):
            Longest text.
    """
    text = (
        "# Solutions of similar tasks\n"
        "These programs were good on other tasks. Their files and columns are not those of this task."
    )
    shown = 0
    for example in examples:
        program = example.program
        plan = "" if program is None else clean_output(program.plan.strip(), characters)
        if program is None or not (plan or form == "program"):
            continue
        title = escape(re.sub(r"\s+", " ", titles.get(example.task_id, example.task_id)))[:100]
        part = f"\n\n## {title}"
        if plan:
            part += "\n" + "\n".join(f"> {line}" for line in escape(plan).splitlines())
        if form == "program":
            part += f"\n{fenced(clean_code(program.code), 'python')}"
        if len(text) + len(part) > characters:
            break
        text += part
        shown += 1
    return text if shown else ""


def add_examples(
    prompt: Messages,
    examples: Sequence[Outcome],
    titles: Mapping[str, str],
    form: Literal["plan", "program"] = "plan",
    budget: PromptBudget | None = None,
) -> Messages:
    """`prompt` with `examples` before its last section, or as it is if there is nothing to show or no room.

    Args:
        prompt (chat messages):
            A prompt of [`build_prompt`].
        examples (sequence of [`Outcome`]):
            What [`retrieve`] has found.
        titles (mapping from `str` to `str`):
            Task id -> title.
        form (`str`, *optional*, defaults to `"plan"`):
            See [`examples_section`].
        budget ([`PromptBudget`], *optional*):
            Most tokens of the prompt. Examples are left out, the last one first, until it is kept.
    """
    *before, last = prompt
    text, heading, answer = last["content"].rpartition("\n# Answer\n")
    for count in range(len(examples), 0, -1):
        section = examples_section(examples[:count], titles, form)
        if not section:
            continue
        if budget is not None:
            section = escape_tokens(section, budget.special_tokens)
        content = f"{text}\n{section}\n{heading}{answer}" if heading else f"{answer}\n\n{section}"
        longer = [*before, {**last, "content": content}]
        if budget is None or budget.allows(longer):
            return longer
    return prompt


def _is_text(values: pd.Series) -> bool:
    present = values.dropna().astype(str)
    if present.empty:
        return False
    return bool(present.nunique() > 0.5 * len(present))


def _distance(one: int, other: int) -> float:
    """Difference of orders of magnitude, 1 from a factor of 100 on."""
    return min(1.0, abs(math.log((one + 1) / (other + 1))) / math.log(100))
