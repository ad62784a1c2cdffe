"""Sections of a policy's model card: what it does, how to use it, and what it may be used for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trl_mle.prompts import build_prompt
from trl_mle.scripts.agent_card import agent_example, quoted
from trl_mle.types import TaskSpec

EXAMPLE = """\
{intro}

```python
from dataclasses import replace

from transformers import pipeline
from trl_mle import build_prompt, extract_program, load_task

task = {load}
generator = pipeline("text-generation", model="{model}")
messages = build_prompt(task)
answer = generator(messages, max_new_tokens={tokens}, return_full_text=False)[0]["generated_text"]
print(extract_program(answer).code)
```

Run the program in a sandbox, never by itself: `async with LocalSandbox() as sandbox: await sandbox.run(code, task)`.

<details><summary>The prompt of this task</summary>

{prompt}

</details>
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
    return {
        "Quick start": _example_of_run(mle_args, training_args, tasks),
        "Tasks": _task_table(tasks),
        "Base model and licence": (
            f"The policy was trained from `{model_args.model_name_or_path}`. Its licence is that of this base model; state it "
            "as `license` in the header of this file before you share the model. The training code, "
            "[trl_mle](https://arxiv.org/abs/2509.01684), is under Apache-2.0; the tasks' data have licences of their own."
        ),
    }


def _example_of_run(mle_args: Any, training_args: Any, tasks: Mapping[str, TaskSpec]) -> str:
    if mle_args.agent_turns:
        return agent_example(mle_args, training_args, *next(iter(tasks.items())))
    return _example(mle_args, training_args, tasks)


def _example(mle_args: Any, training_args: Any, tasks: Mapping[str, TaskSpec]) -> str:
    name, task = next(iter(tasks.items()))
    load = f'load_task("{name}")'
    if mle_args.program_time_limit_s is not None:
        load = (
            f"replace({load}, time_limit_s={mle_args.program_time_limit_s:g})  # as in training: the prompt states it"
        )
    example = EXAMPLE.format(
        intro=(
            "This model is a policy for machine-learning-engineering tasks. It writes a plan and a Python program that solves "
            "a task: the program reads `input/train.csv` and `input/test.csv`, trains a model and writes `submission.csv`."
        ),
        load=load,
        model=training_args.hub_model_id or training_args.output_dir,
        tokens=training_args.max_completion_length,
        prompt="\n\n".join(f"**{message['role']}**\n\n{quoted(message['content'])}" for message in build_prompt(task)),
    )
    return example if "replace(" in load else example.replace("from dataclasses import replace\n\n", "")


def _task_table(tasks: Mapping[str, TaskSpec]) -> str:
    rows = [
        f"| `{name}` | {task.title} | {task.metric}, "
        f"{'higher' if task.direction == 'maximize' else 'lower'} is better | {task.time_limit_s:g} s |"
        for name, task in tasks.items()
    ]
    return "\n".join(["| task | title | metric | time limit of a program |", "|---|---|---|---|", *rows])
