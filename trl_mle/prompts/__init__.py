"""From a task to chat messages. The text stands in `templates/`; the facts come from the task's public files."""

from trl_mle.prompts.scratch import build_prompt

__all__ = ["build_prompt"]
