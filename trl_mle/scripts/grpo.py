"""Training of a policy on machine-learning-engineering tasks with duration-aware GRPO: `trl-mle grpo`.

`recipes/grpo_mle.py` is the same script for `accelerate launch`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from trl_mle.scripts.console import AfterTraining, hide_bars, prepare_console
from trl_mle.scripts.user_errors import user_errors

if TYPE_CHECKING:
    from trl_mle.tasks import Task


def main(arguments: Sequence[str] | None = None) -> int:
    """Train with settings from `arguments`, by default those of this process; returns the exit code."""
    prepare_console()
    with user_errors():
        return train(*parse(arguments))


def parse(arguments: Sequence[str] | None) -> tuple[Any, Any, Any, dict[str, Task]]:
    """Settings from YAML and flags, and the tasks that they name."""
    from trl import ModelConfig

    from trl_mle.scripts.checks import check_vllm
    from trl_mle.scripts.settings import parse_rl_settings
    from trl_mle.training import DurationAwareConfig

    return parse_rl_settings("grpo", arguments, DurationAwareConfig, ModelConfig, check_vllm)


def train(mle_args: Any, training_args: Any, model_args: Any, tasks: dict[str, Task]) -> int:
    """Train, save the model, then report.

    Returns 0, 130 if the user stopped training, or 1 if an infrastructure fault did or if the report or the card failed.
    """
    from transformers import ProgressCallback

    from trl_mle.errors import InfrastructureError
    from trl_mle.scripts.agent import agent_source, check_agent
    from trl_mle.scripts.build import model_init_kwargs, prepare_run
    from trl_mle.scripts.checks import check_best_metric
    from trl_mle.scripts.experience import check_experience
    from trl_mle.scripts.hub_push import push_policy, repository_errors, save_policy
    from trl_mle.scripts.model_card import policy_metadata, policy_sections
    from trl_mle.scripts.policy import trainer_arguments
    from trl_mle.scripts.rollout_source import single_turn_source
    from trl_mle.scripts.run_dir import RunRecorder
    from trl_mle.training import DurationAwareTrainer
    from trl_mle.training.callbacks import GRPO_METRICS, MLEProgress

    hide_bars()
    check_agent(mle_args, training_args)
    check_experience(mle_args, training_args)
    check_best_metric(training_args, tasks)
    run = prepare_run(mle_args, training_args, model_args, tasks)
    training_args.model_init_kwargs = model_init_kwargs(model_args, training_args)
    make_source = agent_source if mle_args.agent_turns else single_turn_source
    source = make_source(mle_args, training_args, run)
    settings = {"mle": asdict(mle_args), "training": training_args.to_dict(), "model": asdict(model_args)}
    with repository_errors(training_args):
        trainer = DurationAwareTrainer(
            **trainer_arguments(model_args, training_args),
            **source.trainer_arguments,
            args=training_args,
            processing_class=run.tokenizer,
            callbacks=[RunRecorder(run.folder, settings)],
        )
    source.check_model(trainer.model)
    # Set before training: checkpoints have a card, too.
    trainer.model_card_sections.update(policy_sections(mle_args, training_args, model_args, run.tasks))
    trainer.model_card_metadata.update(policy_metadata(model_args))
    if not training_args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(MLEProgress(GRPO_METRICS))
    stopped = 0
    try:
        trainer.train(resume_from_checkpoint=run.checkpoint)
    except KeyboardInterrupt:
        stopped = 130
        print("\nInterrupted: what was reached so far follows.", file=sys.stderr)
    except InfrastructureError as error:
        stopped = 1
        print(f"\nerror: {error}\nTraining stopped: what was reached so far follows.", file=sys.stderr)
    finally:
        source.close()
    if not stopped:
        # Before anything that may fail: hours of training must not be lost to a report.
        save_policy(trainer)
    after = AfterTraining()
    if training_args.process_index == 0 and training_args.save_rollouts and (run.folder / "rollouts").exists():
        with after.step("The report", f"`trl-mle report {run.folder}` makes it again."):
            report(trainer, run)
    if stopped:
        return stopped
    with after.step("The model card", f"The model itself is in {run.folder}."):
        trainer.create_model_card(model_name=run.folder.name)
    push_policy(trainer, after)
    return after.exit_code


def report(trainer: Any, run: Any) -> None:
    """Show the run's summary, write its files, and put the scores into the model card."""
    from trl_mle.reports import report_run, result_metadata, scores_section

    tasks = {task.id: task for task in run.tasks.values()}
    summary = report_run(run.folder, tasks, run.validations)
    seed = f"One run of {trainer.state.global_step} steps with seed {trainer.args.seed}."
    trainer.model_card_sections["Scores"] = f"{seed}\n\n{scores_section(summary, run.validations)}"
    trainer.model_card_metadata.update(result_metadata(run.folder.name, summary, tasks))


if __name__ == "__main__":
    sys.exit(main())
