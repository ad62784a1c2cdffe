"""`build_prompt`: the chat messages that ask for a solution of a task, from scratch or from an earlier solution."""

from __future__ import annotations

from trl_mle.errors import ParentNotShownError, check_is_task
from trl_mle.prompts.budget import Messages, PromptBudget, check_budget, fit
from trl_mle.prompts.earlier import EarlierSolution, show
from trl_mle.prompts.quoting import escape_tokens
from trl_mle.prompts.scratch import task_values, template
from trl_mle.types import Outcome, TaskSpec


def build_prompt(
    task: TaskSpec, parent: Outcome | None = None, *, budget: PromptBudget | None = None
) -> list[dict[str, str]]:
    """Build the chat messages that ask for a solution of `task`: from scratch, or better than an earlier one.

    The prompt with a valid `parent` asks for a better solution (arXiv 2509.01684, self-improvement prompts). It shows the
    parent's plan, its program, its public score, its seconds, the metrics that it reported and what it printed. The prompt
    with a failed `parent` asks for one that works and shows the error. Neither shows the private score.

    Args:
        task (`TaskSpec`):
            Task to solve. Only its public files are read.
        parent ([`Outcome`], *optional*):
            Earlier outcome of the same task.
        budget ([`PromptBudget`], *optional*):
            Most tokens of the prompt. The earlier solution is shortened to fit; the task is not.

    Returns:
        `[{"role": "system", "content": ...}, {"role": "user", "content": ...}]`.

    Raises:
        TaskError: a public file cannot be read, or `task` is a name.
        ConfigError: the task alone has more tokens than `budget` allows, or `parent` is an outcome of another task.
        ParentNotShownError: `parent` has no program, is an infrastructure fault, or its program does not fit into `budget`.
            Take another parent, or none.
    """
    check_is_task(task)
    values = task_values(task)
    text = template("task.j2").render(values)
    system = template("system.j2").render().strip()
    special_tokens = budget.special_tokens if budget else ()

    def messages(name: str, **more: object) -> Messages:
        user = template(name).render(task=text, **more).strip()
        return [
            {"role": "system", "content": system},
            {"role": "user", "content": escape_tokens(user, special_tokens)},
        ]

    scratch = messages("scratch.j2")
    if parent is None:
        if budget is not None:
            check_budget(scratch, budget, task.id)
        return scratch

    def with_parent(earlier: EarlierSolution) -> Messages:
        shown = template("earlier.j2").render(earlier.values()).strip()
        return messages(f"{earlier.kind}.j2", earlier=shown, better=values["better"])

    earlier = show(task, parent, str(values["metric"]))
    if budget is None:
        return with_parent(earlier)
    found = fit(earlier, with_parent, budget)
    if found is None:
        check_budget(scratch, budget, task.id)
        raise ParentNotShownError(
            f"An earlier program of {len(earlier.code)} characters does not fit into a prompt of {budget.tokens} tokens."
        )
    return found
