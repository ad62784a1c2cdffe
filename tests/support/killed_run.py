"""Runs that kill themselves as `kill -9` would, and resume from what is left, beside one that does not.

`python -m tests.support.killed_run OUT SCENARIO PROCESSES` runs to the end in `OUT/whole`. In `OUT/killed` it is killed five times
and then runs to the end. The exit statuses go to `OUT/ends.json`. Each process that comes to the end writes its weights to
`final_<rank>.pt`. All processes are forked from the first one, so that only this one imports.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import sys
import time
import traceback
import zlib
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import TrainerCallback

from tests.support.improvement_runs import outcome_of
from tests.support.tasks import toy_task
from tests.support.tiny import tiny_args, tiny_model, tiny_tokenizer
from tests.support.training_runs import unequal
from trl_mle import DurationAwareTrainer, ExperienceStore, LocalSandbox, MLEReward, Task, load_task
from trl_mle.config import ExperienceConfig
from trl_mle.curriculum import ExperiencePrompts
from trl_mle.rewards.records import prompt_columns, rollout_columns
from trl_mle.scripts.checkpoints import resume_from
from trl_mle.scripts.run_dir import RunRecorder, move_earlier_run

STEPS, KILLS = 14, 5


class Death:
    """Ends the process at the N-th call for a place."""

    def __init__(self, place: str, number: int):
        self.place, self.left = place, number

    def comes_to(self, place: str) -> None:
        if place == self.place:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple) -> None:
        """Of `sys.addaudithook`: a file of a checkpoint is opened to be written, so that there is half a checkpoint."""
        if event == "open" and "checkpoint-" in str(arguments[0]) and set(str(arguments[1])) & set("wax+"):
            self.comes_to("open")


class Dying(TrainerCallback):
    def __init__(self, death: Death):
        self.death = death

    def on_substep_end(self, args, state, control, **kwargs):
        self.death.comes_to("micro_step")

    def on_step_end(self, args, state, control, **kwargs):
        self.death.comes_to("step")


def scored(completions, log_extra, **kwargs):
    """What `MLEReward` logs, of outcomes that follow from the text."""
    texts = [completion[0]["content"] for completion in completions]
    outcomes = [outcome_of(text) for text in texts]
    # Censored and without a reward: lost by duration, which the weighting learns from.
    lost = [sum(map(ord, text)) % 7 == 0 for text in texts]
    columns = {**rollout_columns(outcomes), **prompt_columns(kwargs)}
    columns |= {"action_duration": unequal(texts), "action_censored": lost}
    for name, values in columns.items():
        log_extra(name, values)
    return [None if gone else outcome.reward for gone, outcome in zip(lost, outcomes, strict=True)]


class Programs:
    """A real reward, of programs that follow from the text."""

    def __init__(self, task):
        self.reward = MLEReward(sandbox=LocalSandbox(workers=2), tasks={"toy": task})

    async def __call__(self, completions, **kwargs):
        return await self.reward(completions=[self.program(completion) for completion in completions], **kwargs)

    def program(self, completion):
        number = zlib.crc32(completion[0]["content"].encode())
        code = (
            "import pandas as pd\ntable = pd.read_csv('input/sample_submission.csv')\n"
            f"table['y'] = {number % 100} / 100\n"
            + ("table.to_csv('submission.csv', index=False)\n" if number % 4 else "print(1 / 0)\n")
        )
        return [{"role": "assistant", "content": f"```python\n{code}```"}]


def reward_of(scenario: str, death: Death, task: Task):
    programs = Programs(task) if scenario == "sandbox" else None

    async def reward(completions, **kwargs):
        death.comes_to("reward")
        if programs is not None:
            return await programs(completions, **kwargs)
        if scenario == "overlap":
            # Real seconds that no two runs have in common.
            await asyncio.sleep(int.from_bytes(os.urandom(1)) / 2000)
        return scored(completions, **kwargs)

    return reward


SETTINGS = {
    # A generation batch is trained on for 4 optimizer steps, in 2 micro steps each; two epochs have 8 steps.
    "within_generations": {
        "duration_weighting": "inverse_inclusion",
        "steps_per_generation": 4,
        "num_iterations": 2,
        "gradient_accumulation_steps": 2,
        "use_adaptive_entropy": True,
        "entropy_target": 5.0,
        "entropy_coef_delta": 0.01,
        "logging_steps": 3,
    },
    "overlap": {
        "overlap_execution": True,
        "overlap_order": "launched",
        "overlap_batches": 2,
        "max_staleness": 8,
        "steps_per_generation": 2,
        "gradient_accumulation_steps": 1,
    },
    # Durations of real programs differ between runs, so no weights.
    "sandbox": {"duration_weighting": "none", "steps_per_generation": 2, "num_iterations": 2},
}
STRATEGIES = {"within_generations": "score_weighted", "overlap": "diverse", "sandbox": "learnability"}


def run(out: Path, scenario: str, death: Death) -> None:
    """The command of a run, in one of its processes."""
    state = PartialState(cpu=True)
    sys.addaudithook(death.audit)
    folder = out / "run"
    args = tiny_args(
        folder,
        per_device_train_batch_size=4,
        max_steps=STEPS,
        save_strategy="steps",
        save_steps=1,
        save_total_limit=2,
        resume_from_checkpoint="auto",
        **SETTINGS[scenario],
    )
    checkpoint = resume_from(args, warn=True)
    with state.main_process_first():
        if checkpoint is None and state.is_main_process:
            move_earlier_run(folder)
            folder.mkdir()
    task = load_task(str(out.parent / "toy"))
    store = ExperienceStore(folder / "experience.sqlite") if state.is_main_process else None
    config = ExperienceConfig(improve_fraction=0.5, parent_strategy=STRATEGIES[scenario])
    tokenizer = tiny_tokenizer()
    # The end of a prompt differs between parents.
    tokenizer.chat_template = "{% for m in messages %}{{ m.content[-60:] }}\n{% endfor %}"
    # Some prompts are left out of every epoch, others in the next.
    rows = [
        {"prompt": [{"role": "user", "content": f"task {n}: "}], "task": "toy"}
        for n in range(4 * state.num_processes + 2)
    ]
    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=reward_of(scenario, death, task),
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[RunRecorder(folder, {}), Dying(death)],
        group_prompts=ExperiencePrompts({"toy": task}, store, config, seed=7),
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    torch.save(trainer.accelerator.unwrap_model(trainer.model).state_dict(), out / f"final_{state.process_index}.pt")
    if state.num_processes > 1:
        torch.distributed.barrier()


def fork(out: Path, scenario: str, processes: int, place: str = "", number: int = 0, dies: int = 0) -> list[int]:
    """Run in forked processes. Returns the status of each, negative for a signal."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    out.mkdir(parents=True, exist_ok=True)
    children = {}
    for rank in range(processes):
        child = os.fork()
        if child:
            children[child] = rank
            continue
        with (out / f"log_{time.time_ns()}_{rank}.txt").open("w") as log:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        if processes > 1:
            os.environ |= {name: str(value) for name, value in names.items()}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        try:
            run(out, scenario, Death(place if rank == dies else "", number))
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    statuses = {}
    while children:
        child, status = os.wait()
        statuses[children.pop(child)] = os.waitstatus_to_exitcode(status)
        # As a launcher does.
        for other in children if status else ():
            os.kill(other, signal.SIGKILL)
    return [statuses[rank] for rank in range(processes)]


def deaths(scenario: str, processes: int):
    """Place, number and rank of each death, by chance, such that all of them come before the run ends."""
    draw = random.Random(f"seed 5 {scenario} {processes}")
    settings = SETTINGS[scenario]
    per_generation = settings["steps_per_generation"] * settings.get("num_iterations", 1)
    accumulated = settings.get("gradient_accumulation_steps", 1)
    is_overlap = scenario == "overlap"
    steps = 0
    for _ in range(KILLS):
        rank = draw.randrange(processes)
        # The most calls for a place, and the steps that a run may do before. The second process writes few files.
        places = {
            "reward": (8 if is_overlap else 1, per_generation // accumulated),
            "step": (3, 2),
            "open": (16, 2) if rank == 0 else (3, 2),
        }
        if accumulated > 1:
            places["micro_step"] = (2, 1)
        place = draw.choice(sorted(places))
        most, steps_before = places[place]
        steps += steps_before
        yield place, draw.randint(1, most), rank
    assert steps < STEPS, "a death may be past the end of the run"


def main(out: Path, scenario: str, processes: int) -> None:
    toy_task(out)
    ends = [fork(out / "whole", scenario, processes)]
    for death in deaths(scenario, processes):
        ends.append(fork(out / "killed", scenario, processes, *death))
    ends.append(fork(out / "killed", scenario, processes))
    (out / "ends.json").write_text(json.dumps(ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
