"""The report of a run with several reward functions, as the trainer leaves it."""

from __future__ import annotations

import json

from rich.console import Console

from tests.support.rollouts import row
from tests.support.tasks import toy_task
from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer
from trl_mle.outcomes import Column
from trl_mle.reports import report_run, scores_section
from trl_mle.scripts.run_dir import RunRecorder


def mle_reward(completions, log_extra, **kwargs):
    """What `MLEReward` logs, without programs: the first completion of a batch is valid, and the last one a fault."""
    rows = [row("failure", -10.0) for _ in completions]
    rows[0], rows[-1] = row("valid", 0.5, 2.0, 3.0), row("fault", None, seconds=None, program=None)
    for column in rows[0]:
        if column != Column.REWARD:
            log_extra(column, [each[column] for each in rows])
    return [each[Column.REWARD] for each in rows]


def short_reward(completions, **kwargs):
    """A function of the user's own."""
    return [-float(len(text)) for text in completions]


def test_a_function_of_the_users_own_beside_mle_reward(tmp_path):
    folder = tmp_path / "run"
    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=[mle_reward, short_reward],
        args=tiny_args(folder, max_steps=2, duration_clip=None),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
        callbacks=[RunRecorder(folder, {})],
    )
    trainer.train()
    console = Console(record=True, width=80)
    summary = report_run(folder, {"toy": toy_task(tmp_path)}, console=console)
    logged = [entry for entry in trainer.state.log_history if "rewards/short_reward/mean" in entry]
    for name in ("mle_reward", "short_reward"):
        means = (summary.first.reward_means[name], summary.last.reward_means[name])
        assert [round(mean, 3) for mean in means] == [round(entry[f"rewards/{name}/mean"], 3) for entry in logged]
    assert "short_reward" in console.export_text()
    assert (summary.rollouts, summary.faults) == (16, 2)
    trainer.model_card_sections["Scores"] = scores_section(summary, {})
    trainer.create_model_card(model_name="tiny")
    assert "| `short_reward` |" in (folder / "README.md").read_text()
    assert set(json.loads((folder / "summary.json").read_text())["first"]["reward_means"]) == {
        "mle_reward",
        "short_reward",
    }
