"""Sections of a policy's model card: what it does, how to use it, and what it may be used for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trl_mle.exports.hub.redaction import redacted
from trl_mle.prompts import build_prompt
from trl_mle.scripts.agent_card import agent_example, quoted
from trl_mle.types import TaskSpec

EXAMPLE = """\
{intro}

```python
import asyncio{replace}

from transformers import pipeline
from trl_mle import ProgramScorer, build_prompt, load_task

task = {load}
generator = pipeline("text-generation", model="{model}")
answer = generator(build_prompt(task), max_new_tokens={tokens}, return_full_text=False)[0]["generated_text"]


async def solve():
    async with ProgramScorer() as scorer:  # runs the program in a sandbox
        return await scorer.score(answer, task)


outcome = asyncio.run(solve())
print(outcome.kind, outcome.public, outcome.extraction_reason)
```

`trl-mle solve {name} --model {model} --budget 30m` samples and improves programs until the time is over, and keeps the best one.

<details><summary>The prompt of this task</summary>

{prompt}

</details>
"""

LIMITS = """\
- The programs that this model writes are **not safe to run** outside a sandbox.
- The model was trained on the tasks above. Nothing is known about other tasks, metrics, packages or time limits.
- Scores are those of programs that were sampled during training and chosen by their public score, so they are better than a single
  sample is. `trl-mle evaluate` measures the model itself.
- Rewards and durations are those of the machine of the run: on another one, other programs reach the time limit.
- One run with one seed shows nothing about the spread between runs.
"""


def policy_sections(
    mle_args: Any, training_args: Any, model_args: Any, tasks: Mapping[str, TaskSpec]
) -> dict[str, str]:
    """Title -> Markdown. A title that TRL's card has already, such as "Quick start", replaces that section.

    Args:
        mle_args, training_args, model_args:
            Settings of the run.
        tasks (mapping from name to [`TaskSpec`]):
            Tasks of the run, with the time limit that their prompts state.
    """
    base = base_model(model_args.model_name_or_path)
    trained_from = f"`{base}`" if base else "a model of the machine of the run, which has no name on the Hub"
    sections = {
        "Quick start": _example_of_run(mle_args, training_args, tasks),
        "Tasks": _task_table(tasks),
        "Base model and licence": (
            f"The policy was trained from {trained_from}. Its licence is that of this base model: `trl-mle push model --license` "
            "states it. The training code, [trl_mle](https://arxiv.org/abs/2509.01684), is under Apache-2.0. The tasks' data have "
            "licences of their own, see above."
        ),
        "Limits": LIMITS,
    }
    # `push_to_hub` uploads the card as it stands here. A task may have the name of a folder.
    return {title: redacted(text) for title, text in sections.items()}


def _example_of_run(mle_args: Any, training_args: Any, tasks: Mapping[str, TaskSpec]) -> str:
    if mle_args.agent_turns:
        return agent_example(mle_args, training_args, *next(iter(tasks.items())))
    return _example(mle_args, training_args, tasks)


def policy_metadata(model_args: Any) -> dict[str, Any]:
    """Fields of the header of the card that the settings of a run say."""
    return {
        "base_model": base_model(model_args.model_name_or_path),
        "pipeline_tag": "text-generation",
        "language": "en",
        "tags": ["machine-learning-engineering", "code"],
    }


def base_model(name: str | None) -> str | None:
    """`name` if it is that of a model of the Hub, or `None` for a folder of this machine and for `tiny`."""
    is_name = name is not None and re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name) is not None
    return name if is_name and not Path(str(name)).exists() else None


def _example(mle_args: Any, training_args: Any, tasks: Mapping[str, TaskSpec]) -> str:
    name, task = next(iter(tasks.items()))
    load = f'load_task("{name}")'
    if mle_args.program_time_limit_s is not None:
        load = (
            f"replace({load}, time_limit_s={mle_args.program_time_limit_s:g})  # as in training: the prompt states it"
        )
    return EXAMPLE.format(
        intro=(
            "This model is a policy for machine-learning-engineering tasks. It writes a plan and a Python program that solves "
            "a task: the program reads the files in `input/`, trains a model and writes `submission.csv`."
        ),
        replace="\nfrom dataclasses import replace" if "replace(" in load else "",
        load=load,
        name=name,
        model=training_args.hub_model_id or Path(training_args.output_dir).name,
        tokens=training_args.max_completion_length,
        prompt="\n\n".join(f"**{message['role']}**\n\n{quoted(message['content'])}" for message in build_prompt(task)),
    )


def _task_table(tasks: Mapping[str, TaskSpec]) -> str:
    rows = [
        f"| `{name}` | {_cell(task.title)} | {_cell(task.metric)}, "
        f"{'higher' if task.direction == 'maximize' else 'lower'} is better | {task.time_limit_s:g} s | "
        f"{_cell(task.license or 'not stated by its source')} |"
        for name, task in tasks.items()
    ]
    heading = "| task | title | metric | time limit of a program | licence of the data |"
    return "\n".join([heading, "|---|---|---|---|---|", *rows])


def _cell(text: str) -> str:
    """Text in one cell of a table of Markdown."""
    return re.sub(r"([\\`|<>\[\]])", r"\\\1", " ".join(text.split())[:200])
