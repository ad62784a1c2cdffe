"""Section of an agent's model card: how to let it solve a task with its tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trl_mle.prompts import build_agent_prompt
from trl_mle.types import TaskSpec

EXAMPLE = """\
This model is an agent for machine-learning-engineering tasks. It calls two tools: `run_program(code)` runs a complete Python
program that writes `submission.csv` and tells what it did; `submit()` ends the task with the last valid submission. It was trained
with {turns} programs per task.

```python
import asyncio
{imports}
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl_mle import EpisodeBudget, MLESpec, load_task

task = {load}
tokenizer = AutoTokenizer.from_pretrained("{model}")
model = AutoModelForCausalLM.from_pretrained("{model}")
spec = MLESpec(task, budget={budget}, show_public_score={show_public_score})
environment = spec.environment_factory()
environment.reset(task=task.id)
tools = {{"run_program": environment.run_program, "submit": environment.submit}}
messages = spec.prompt(task)


async def solve():
    for _ in range({rounds}):
        prompt = tokenizer.apply_chat_template(
            messages, tools=list(tools.values()), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        length = prompt["input_ids"].shape[1]
        answer = model.generate(**prompt, max_new_tokens={tokens}, do_sample=True)[0, length:]
        message = tokenizer.parse_response(answer, prefix=prompt["input_ids"][0])
        messages.append(message)
        calls = [call["function"] for call in message.get("tool_calls") or []]
        for call in calls:
            answer = await tools[call["name"]](**call["arguments"])
            messages.append({{"role": "tool", "name": call["name"], "content": answer}})
        if not calls:
            break
    await spec.aclose()


asyncio.run(solve())
outcome = environment.episode.outcome
print(outcome.kind, outcome.program and outcome.program.code)
```

The programs run in the sandbox of this machine.

<details><summary>The prompt of this task</summary>

{prompt}

</details>
"""


def agent_example(mle_args: Any, training_args: Any, name: str, task: TaskSpec) -> str:
    """Markdown of the section "Quick start".

    Args:
        mle_args, training_args:
            Settings of the run.
        name (`str`):
            Name of a task of the run.
        task ([`TaskSpec`]):
            The task, with the time limit that prompts state.
    """
    budget = mle_args.episode_budget()
    limit_s = mle_args.program_time_limit_s
    load = f'load_task("{name}")'
    messages = build_agent_prompt(
        task,
        runs=budget.runs,
        seconds=budget.seconds_for(task.time_limit_s),
        keeps_files=budget.keep_bytes > 0 and budget.runs > 1,
        tells_score=mle_args.agent_public_score,
    )
    return EXAMPLE.format(
        turns=f"up to {budget.runs}" if budget.runs > 1 else "one",
        imports="" if limit_s is None else "from dataclasses import replace\n",
        load=load
        if limit_s is None
        else f"replace({load}, time_limit_s={limit_s:g})  # as in training: the prompt states it",
        model=training_args.hub_model_id or Path(training_args.output_dir).name,
        budget=repr(budget),
        show_public_score=mle_args.agent_public_score,
        rounds=training_args.max_tool_calling_iterations + 1,
        tokens=training_args.max_completion_length,
        prompt="\n\n".join(f"**{each['role']}**\n\n{quoted(each['content'])}" for each in messages),
    )


def quoted(text: str) -> str:
    """`text` as a Markdown quotation, so that its own headings and fences stay inside."""
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())
