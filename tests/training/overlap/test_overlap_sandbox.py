"""Overlap with real programs in a real sandbox: columns, time-outs, and that nothing runs when training has ended."""

from __future__ import annotations

import itertools

import psutil
import pytest
from rich.console import Console

from tests.support.tasks import toy_task
from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from tests.training.overlap.test_overlap import rollouts
from trl_mle import DurationAwareTrainer, LocalSandbox, MLEReward, SandboxConfig
from trl_mle.reports import report_run

SUBMIT = "shutil.copy('input/sample_submission.csv','submission.csv')"
PROGRAMS = {
    "valid": f"import shutil\n{SUBMIT}",
    "fails": "1/0",
    "slow": f"import shutil,time\ntime.sleep(.6)\n{SUBMIT}",
    "never_ends": "import time\ntime.sleep(600)",
}


def writes_in_turn(kinds):
    """A rollout function whose policy writes these kinds of programs, one after the other."""

    def rollout(prompts, trainer):
        encode = trainer.processing_class
        texts = [f"```python\n{PROGRAMS[next(kinds)]}\n```" for _ in prompts]
        return {
            "prompt_ids": [encode(prompt)["input_ids"] for prompt in prompts],
            "completion_ids": [[*encode(text)["input_ids"], encode.eos_token_id] for text in texts],
            "logprobs": None,
        }

    return rollout


def test_programs_of_a_sandbox_overlap_with_training(tmp_path):
    kinds = itertools.chain(
        ["valid", "fails", "valid", "never_ends"], itertools.cycle(["valid", "fails", "valid", "slow"])
    )
    dataset = tiny_dataset()
    # The programs import nothing that a worker would have to load first.
    sandbox = LocalSandbox(SandboxConfig(workers=2, wall_s=3, preload=()))
    reward = MLEReward(sandbox=sandbox, tasks={"toy": toy_task(tmp_path)})
    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=reward,
        args=tiny_args(tmp_path / "run", overlap_execution=True, overlap_batches=1, max_staleness=2, max_steps=3),
        train_dataset=dataset.add_column("task", ["toy"] * len(dataset)),
        processing_class=tiny_tokenizer(),
        rollout_func=writes_in_turn(kinds),
    )
    try:
        trainer.train()
    finally:
        reward.close()
    assert not psutil.Process().children(recursive=True)

    table = rollouts(tmp_path / "run")
    assert len(table) == 3 * 8
    assert 0 < table["staleness"].max() <= 2
    assert not table["lost"].any()
    # A program that never ends is waited for until its time limit, and counts as a time-out. Under load, so may others.
    never_end = table["completion"].str.contains(PROGRAMS["never_ends"], regex=False)
    assert set(table[never_end]["kind"]) == {"timeout"}
    timeouts = table[table["kind"] == "timeout"]
    assert timeouts["action_censored"].all()
    assert (timeouts["mle_reward"] < -9).all()
    assert (timeouts["advantage"] < 0).all()
    ran = table[table["kind"] != "timeout"]
    for text, kind, seconds in zip(ran["program"], ran["kind"], ran["action_duration"], strict=True):
        assert kind == ("failure" if "1/0" in text else "valid")
        assert seconds >= 0.6 or "sleep" not in text
    for _, step in table.groupby("step"):
        seconds = step["action_duration"].clip(lower=trainer.args.duration_floor_s)
        assert list(step["duration_weight"]) == pytest.approx(list(seconds / seconds.mean()))

    console = Console(record=True, width=120)
    summary = report_run(tmp_path / "run", {"toy": reward.task("toy")}, console=console)
    assert (summary.lost, summary.faults) == (0, 0)
    last = table[table["step"] == table["step"].max()]
    assert summary.last.valid_share == (last["kind"] == "valid").mean()
