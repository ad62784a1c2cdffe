"""Credit by episode against credit by turn: small agents on toy tasks, and exact variances of estimators.

    python benchmarks/turn_credit.py [--seeds 5] [--steps 150] [--out docs/results/turn_credit.json]

A two-layer model with random weights writes one of 28 tokens per turn, up to three turns. `DurationAwareTrainer` trains it with
`turn_credit` `episode` and `return`. The environment answers with one token that names the fault of the program, and one token is
the repair of each fault. Two tasks:

- `progress`: the first program has luck (0 or 2, whatever was written), and each right repair adds 1. Reward is progress, by turn.
- `at the end`: the reward is the same, but comes with the last turn. Then no turn earns anything before, and credit by turn
  can only compare episodes that got as far.

Printed and written: share of right repairs over the updates, and updates until 80 % are right. The exact part needs no sampling:
mean and variance of each estimator, over every group of episodes that a policy of nine parameters can write
(`tests/support/stopping_policy.py`).
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev

import checkout  # noqa: F401
import torch
from datasets import Dataset
from transformers import PrinterCallback, set_seed

from tests.support.stopping_policy import (
    LOGITS,
    StoppingPolicy,
    absent_as_zero,
    episodes,
    of_trainer,
    rewards_by_turn_then_summed,
    survivors_with_self,
    whole_episodes,
)
from tests.support.tiny import tiny_args, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer

TURNS, FAULTS, GROUP, ROWS = 3, 4, 8, 32
FIRST_FAULT, FIRST_REPAIR, STOP, FIRST_PROMPT, TOKENS = 8, 12, 16, 20, 28
"""Ids of tokens, and their number. The prompts of a batch are eight tokens."""
REACHED, WINDOW = 0.8, 10


class Agents:
    """Rollout function: one token of the policy per turn, one of the environment after it."""

    def __init__(self, task: str, seed: int):
        self.at_the_end = task == "at the end"
        self.random = torch.Generator().manual_seed(seed)

    def draw(self, high: int) -> int:
        return int(torch.randint(high, (), generator=self.random))

    @torch.no_grad()
    def __call__(self, prompts, trainer):
        model = trainer.accelerator.unwrap_model(trainer.model)
        starts = [[FIRST_PROMPT + int(prompt)] for prompt in prompts]
        completions: list[list[int]] = [[] for _ in prompts]
        masks: list[list[int]] = [[] for _ in prompts]
        earned: list[list[float]] = [[] for _ in prompts]
        faults = [0] * len(prompts)
        alive = list(range(len(prompts)))
        for turn in range(TURNS):
            if not alive:
                break
            logits = model(input_ids=torch.tensor([starts[row] + completions[row] for row in alive])).logits[:, -1]
            tokens = torch.multinomial(torch.softmax(logits, dim=-1), 1).flatten().tolist()
            going = []
            for row, token in zip(alive, tokens, strict=True):
                completions[row].append(token)
                masks[row].append(1)
                right = turn > 0 and token == FIRST_REPAIR + faults[row]
                earned[row].append(2.0 * self.draw(2) if turn == 0 else float(right))
                if token == STOP or turn == TURNS - 1:
                    continue
                faults[row] = self.draw(FAULTS)
                completions[row].append(FIRST_FAULT + faults[row])
                masks[row].append(0)
                going.append(row)
            alive = going
        return {
            "prompt_ids": starts,
            "completion_ids": completions,
            "logprobs": None,
            "env_mask": masks,
            "earned": earned,
        }

    def reward(self, completions, earned, log_extra, log_metric, **kwargs):
        by_turn = [[0.0] * (len(row) - 1) + [sum(row)] if self.at_the_end else row for row in earned]
        log_extra("per_action_rewards", by_turn)
        log_metric("repairs", sum(sum(row[1:]) for row in earned) / ((TURNS - 1) * len(earned)))
        return [sum(row) for row in earned]


def train(task: str, credit: str, seed: int, steps: int) -> list[float]:
    """Share of right repairs at each update; a turn that was not reached has none."""
    agents = Agents(task, seed)
    model = tiny_model(TOKENS)
    set_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.05)
    with tempfile.TemporaryDirectory() as folder:
        trainer = DurationAwareTrainer(
            model=model,
            reward_funcs=agents.reward,
            rollout_func=agents,
            args=tiny_args(
                folder,
                turn_credit=credit,
                duration_weighting="none",
                per_device_train_batch_size=ROWS,
                num_generations=GROUP,
                max_completion_length=2 * TURNS,
                max_steps=steps,
                learning_rate=3e-3,
                lr_scheduler_type="constant",
                save_rollouts=False,
                collapse_action="none",
                seed=seed,
            ),
            train_dataset=Dataset.from_list([{"prompt": str(row)} for row in range(8)]),
            processing_class=tiny_tokenizer(),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return [entry["repairs"] for entry in trainer.state.log_history if "repairs" in entry]


def smoothed(shares: list[float]) -> list[float]:
    return [fmean(shares[max(0, step - WINDOW + 1) : step + 1]) for step in range(len(shares))]


def updates_until(shares: list[float]) -> int | None:
    return next((step + 1 for step, share in enumerate(smoothed(shares)) if step >= WINDOW and share >= REACHED), None)


def learning(seeds: int, steps: int) -> dict[str, dict]:
    found: dict[str, dict] = {}
    for task in ("progress", "at the end"):
        for credit in ("episode", "return"):
            curves = [train(task, credit, seed, steps) for seed in range(seeds)]
            reached = [updates_until(curve) for curve in curves]
            last = [fmean(curve[-WINDOW:]) for curve in curves]
            thirds = [
                round(fmean(fmean(curve[i * steps // 3 : (i + 1) * steps // 3]) for curve in curves), 3)
                for i in range(3)
            ]
            found[f"{task}, {credit}"] = {
                "right_repairs_by_thirds": thirds,
                "right_repairs_at_the_end": [round(value, 3) for value in last],
                "mean_at_the_end": round(fmean(last), 3),
                "sd_at_the_end": round(stdev(last), 3) if seeds > 1 else None,
                "updates_until_80_percent": reached,
            }
            print(f"{task:12s} {credit:8s} {json.dumps(found[f'{task}, {credit}'])}", flush=True)
    return found


ESTIMATORS = (whole_episodes, of_trainer, absent_as_zero, survivors_with_self, rewards_by_turn_then_summed)
CASES = {
    "later turns earn more": episodes(),
    "the last turn earns nearly all": episodes(lambda turn, action: (9.0, 10.0, 9.5)[action] * (turn == 2)),
    "luck at the first turn": episodes(
        lambda turn, action: (0.0, 3.0, -3.0)[action] if turn == 0 else 0.5 * (action == 1)
    ),
}


def exact(size: int) -> dict[str, dict]:
    """For each case and estimator: error of the expected gradient, as a share of the true one, and variance."""
    found: dict[str, dict] = {}
    for name, written in CASES.items():
        policy = StoppingPolicy(written, LOGITS)
        true = policy.gradient() * (size - 1) / size
        found[name] = {}
        for estimator in ESTIMATORS:
            mean, variance = policy.moments(estimator, size)
            # Below 1e-9 there is rounding only.
            error = float((mean - true).norm() / true.norm())
            found[name][estimator.__name__] = {"bias": round(error, 9), "variance": round(variance, 4)}
            print(f"{name:32s} {estimator.__name__:28s} bias {error:9.2e} variance {variance:.4f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150, help="updates of each run")
    parser.add_argument("--size", type=int, default=4, help="episodes of a group in the exact part")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()
    began = time.monotonic()
    results = {
        "made_by": {
            "command": f"python benchmarks/turn_credit.py --seeds {args.seeds} --steps {args.steps} --size {args.size}",
            "python": platform.python_version(),
            "torch": version("torch"),
            "trl": version("trl"),
            "machine": platform.machine(),
        },
        "exact": exact(args.size),
        "learning": learning(args.seeds, args.steps),
    }
    results["made_by"]["minutes"] = round((time.monotonic() - began) / 60, 1)
    if args.out is not None:
        args.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
