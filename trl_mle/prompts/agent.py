"""`build_agent_prompt`: the chat messages that ask an agent to solve a task with the tools of an environment."""

from __future__ import annotations

from trl_mle.errors import check_is_task
from trl_mle.prompts.budget import Messages, PromptBudget, check_budget
from trl_mle.prompts.quoting import escape_tokens
from trl_mle.prompts.scratch import gib, task_values, template
from trl_mle.types import TaskSpec


def build_agent_prompt(
    task: TaskSpec,
    *,
    runs: int,
    seconds: float,
    limit_s: float | None = None,
    memory_bytes: int | None = None,
    keeps_files: bool = False,
    tells_score: bool = False,
    budget: PromptBudget | None = None,
) -> Messages:
    """Build the chat messages that ask for a solution of `task` in several runs. They state the task, the tools and the budget.

    Args:
        task (`TaskSpec`):
            Task to solve. Only its public files are read.
        runs (`int`):
            Programs that may be run.
        seconds (`float`):
            Seconds of execution of all programs together.
        limit_s (`float`, *optional*):
            Seconds of execution of one program. Defaults to the limit of the task.
        memory_bytes (`int`, *optional*):
            Bytes of memory of one program. Defaults to the limit of the task.
        keeps_files (`bool`, *optional*, defaults to `False`):
            Whether a program finds the files that the one before it has left.
        tells_score (`bool`, *optional*, defaults to `False`):
            Whether the policy is told the score of its valid submissions on the answers.
        budget ([`PromptBudget`], *optional*):
            Most tokens of the prompt.

    Returns:
        `[{"role": "system", "content": ...}, {"role": "user", "content": ...}]`.

    Raises:
        TaskError: a public file cannot be read, or `task` is a name.
        ConfigError: the prompt has more tokens than `budget` allows.
    """
    check_is_task(task)
    values = dict(task_values(task))
    if limit_s is not None:
        values["time_limit_s"] = f"{limit_s:g}"
    if memory_bytes is not None:
        values["memory_gib"] = gib(memory_bytes)
    text = template("task.j2").render(values)
    settings = {"runs": runs, "seconds": f"{seconds:g}", "keeps_files": keeps_files, "tells_score": tells_score}
    user = template("agent.j2").render(task=text, **settings).strip()
    messages = [
        {"role": "system", "content": template("agent_system.j2").render().strip()},
        {"role": "user", "content": escape_tokens(user, budget.special_tokens if budget else ())},
    ]
    if budget is not None:
        check_budget(messages, budget, task.id)
    return messages
