"""From a task, and an earlier outcome of it, to chat messages. The text stands in `templates/`; the facts come from the task's
public files."""

from trl_mle.prompts.agent import build_agent_prompt
from trl_mle.prompts.budget import PromptBudget
from trl_mle.prompts.build import build_prompt
from trl_mle.prompts.earlier import prompt_kind

__all__ = ["PromptBudget", "build_agent_prompt", "build_prompt", "prompt_kind"]
