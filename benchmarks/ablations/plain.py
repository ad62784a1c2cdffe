"""GRPO on programs as a user would write it in an afternoon: `trl.GRPOTrainer`, the score as reward, `subprocess.run`.

Started by `benchmarks/ablation.py`. Programs run one after the other with the interpreter of this script: each imports its
libraries anew, and a time limit is all that holds it. Whatever is not a valid submission is worth `failure_reward`. Generation
and learning have the settings of `recipes/quickstart/grpo.yaml`. Nothing here is slower than it has to be.

With `--cache`, a program that was scored before is not run again. It is for comparisons at equal numbers of programs, where time
does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ablations.clock import Clock
from trl_mle.rewards.score_transform import transform_score
from trl_mle.tasks import Task

ROLLOUTS = "rollouts.jsonl"
SETTINGS = (
    "learning_rate", "lr_scheduler_type", "max_grad_norm", "loss_type", "per_device_train_batch_size", "num_generations",
    "max_completion_length", "temperature", "beta", "use_cpu", "bf16", "gradient_checkpointing", "save_total_limit",
)  # fmt: skip
"""Keys of the recipe that are arguments of `GRPOConfig`."""


class Score:
    """Reward function of TRL: the public score of each completion's program, on the scale of the task's transform."""

    __name__ = "score"

    def __init__(self, tasks: dict[str, Task], folder: Path, limit_s: float, failure_reward: float, cache: Any = None):
        self.tasks, self.folder, self.limit_s = tasks, folder, limit_s
        self.failure_reward = failure_reward
        self.cache = cache

    def __call__(self, completions, task, trainer_state, **kwargs) -> list[float]:
        rewards = []
        with (self.folder / ROLLOUTS).open("a", encoding="utf-8") as file:
            for completion, name in zip(completions, task, strict=True):
                row = self.score(completion[0]["content"], name)
                rewards.append(row["mle_reward"])
                file.write(json.dumps({"step": trainer_state.global_step, **row}) + "\n")
        return rewards

    def score(self, text: str, name: str) -> dict[str, Any]:
        """Columns of a rollout, by the names of the package's own rollouts."""
        found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
        code = found.group(1) if found else None
        row: dict[str, Any] = {"task_id": self.tasks[name].id, "program": code, "kind": "failure"}
        row |= {"reward_score": None, "public_score": None, "action_cpu_duration": None}
        if code is not None:
            key = (name, code)
            known = self.cache.get(key) if self.cache is not None else None
            row |= known if known is not None else self.run(code, self.tasks[name])
            if self.cache is not None:
                self.cache[key] = {
                    column: row[column] for column in ("kind", "reward_score", "public_score", "action_cpu_duration")
                }
        row["mle_reward"] = self.failure_reward if row["reward_score"] is None else row["reward_score"]
        return row

    def run(self, code: str, task: Task) -> dict[str, Any]:
        """Run a program in a temporary folder and grade what it leaves."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            shutil.copytree(task.public_dir, folder / "input")
            (folder / "program.py").write_text(code, encoding="utf-8", errors="replace")
            before, kind = children_cpu_s(), "failure"
            try:
                done = subprocess.run(
                    [sys.executable, "program.py"], cwd=folder, timeout=self.limit_s, capture_output=True, check=False
                )
            except subprocess.TimeoutExpired:
                return {"kind": "timeout", "action_cpu_duration": children_cpu_s() - before}
            row: dict[str, Any] = {"kind": kind, "action_cpu_duration": children_cpu_s() - before}
            submission = folder / "submission.csv"
            if done.returncode == 0 and submission.is_file():
                grade = task.grade(submission)
                if grade.valid and grade.score is not None:
                    score = transform_score(grade.score, task.direction, task.transform)
                    row |= {"kind": "valid", "public_score": grade.score, "reward_score": score}
            return row


def children_cpu_s() -> float:
    """CPU seconds of all ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def drop_after(path: Path, step: int) -> None:
    """Leave out the rollouts that a resumed run generates again, and a line that a kill has cut off."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] < step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue
    partial = path.with_suffix(".partial")
    partial.write_text("".join(kept), encoding="utf-8")
    os.replace(partial, path)


def main() -> None:
    args = parser().parse_args()
    import yaml
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.trainer_utils import get_last_checkpoint
    from trl import GRPOConfig, GRPOTrainer

    from trl_mle import prompts_dataset
    from trl_mle.scripts.build import with_time_limit
    from trl_mle.tasks import load_task

    recipe = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    tasks = with_time_limit({name: load_task(name) for name in args.tasks}, recipe["program_time_limit_s"])
    args.output_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = get_last_checkpoint(str(args.output_dir))
    drop_after(args.output_dir / ROLLOUTS, int(checkpoint.rsplit("-", 1)[1]) if checkpoint else 0)
    cache = None
    if args.cache is not None:
        import diskcache

        cache = diskcache.Cache(str(args.cache), eviction_policy="none")
    settings = {name: recipe[name] for name in SETTINGS}
    config = GRPOConfig(
        str(args.output_dir), seed=args.seed, max_steps=args.max_steps, save_steps=6, report_to="none", **settings
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(args.model, dtype="float32"),
        reward_funcs=Score(tasks, args.output_dir, args.wall_limit_s, args.failure_reward, cache),
        args=config,
        train_dataset=prompts_dataset(tasks, prompts=1),
        processing_class=AutoTokenizer.from_pretrained(args.model, padding_side="left"),
        callbacks=[Clock(args.output_dir, args.seconds)],
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(str(args.output_dir))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", required=True, help="folder of the starting policy")
    made.add_argument("--config", type=Path, required=True, help="recipe whose settings of training hold here, too")
    made.add_argument("--tasks", nargs="+", required=True)
    made.add_argument("--output_dir", type=Path, required=True)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--max_steps", type=int, default=48)
    made.add_argument("--seconds", type=float, help="seconds of training after which no further update begins")
    made.add_argument("--wall-limit-s", type=float, default=30.0, help="time limit of a program")
    made.add_argument("--failure_reward", type=float, default=-10.0)
    made.add_argument("--cache", type=Path, help="folder of known programs; none if not given")
    return made


if __name__ == "__main__":
    main()
