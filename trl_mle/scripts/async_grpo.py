"""Training with duration-aware GRPO while rollouts go on: a vLLM server generates, programs run, the learner never waits.

`trl-mle async-grpo` runs it, and `recipes/async_grpo_mle.py` for `accelerate launch`. The header of
`recipes/qwen2.5-3b-instruct/async_grpo.yaml` says how to start the server.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from trl_mle.scripts.console import AfterTraining, hide_bars, prepare_console
from trl_mle.scripts.user_errors import user_errors

if TYPE_CHECKING:
    from trl_mle.tasks import Task


@dataclass
class PolicyArguments:
    """The part of `trl.ModelConfig` that this script needs. The whole class does not fit: the training's settings have a
    `dtype` too.

    Args:
        model_name_or_path (`str`):
            Hub id or path of the policy; the vLLM server serves the same model.
        model_revision (`str`, *optional*, defaults to `"main"`):
            Its branch, tag or commit.
        use_peft, lora_r, lora_alpha, lora_dropout, lora_target_modules:
            As in `trl.ModelConfig`.
    """

    model_name_or_path: str | None = field(default=None, metadata={"help": "Hub id or path of the policy."})
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit."})
    use_peft: bool = field(default=False, metadata={"help": "Train an adapter."})
    lora_r: int = field(default=16, metadata={"help": "Rank of the adapter."})
    lora_alpha: int = field(default=32, metadata={"help": "Scale of the adapter."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout of the adapter."})
    lora_target_modules: list[str] | None = field(default=None, metadata={"help": "Modules with an adapter."})


def main(arguments: Sequence[str] | None = None) -> int:
    """Train with settings from `arguments`, by default those of this process; returns the exit code."""
    prepare_console()
    with user_errors():
        return train(*parse(arguments))


def parse(arguments: Sequence[str] | None) -> tuple[Any, Any, Any, dict[str, Task]]:
    """Settings from YAML and flags, and the tasks that they name."""
    from trl_mle.scripts.settings import parse_rl_settings
    from trl_mle.training import AsyncDurationAwareConfig

    return parse_rl_settings("async-grpo", arguments, AsyncDurationAwareConfig, PolicyArguments)


def train(mle_args: Any, training_args: Any, model_args: Any, tasks: dict[str, Task]) -> int:
    """Train and save the model. Returns 0, or 1 if the server, the sandbox or the model card failed."""
    from trl import ModelConfig, get_peft_config

    from trl_mle.dataset import prompts_dataset
    from trl_mle.errors import InfrastructureError
    from trl_mle.scripts.build import make_reward, prepare_run
    from trl_mle.scripts.checks import check_async
    from trl_mle.scripts.curriculum import check_uniform
    from trl_mle.scripts.hub_push import push_policy, repository_errors, save_policy
    from trl_mle.scripts.model_card import policy_metadata, policy_sections
    from trl_mle.scripts.policy import check_not_adapter
    from trl_mle.scripts.run_dir import RunRecorder
    from trl_mle.training import AsyncDurationAwareTrainer

    hide_bars()
    check_async(
        model_args.use_peft, mle_args.reward_aggregation, mle_args.experience_config().is_used, mle_args.agent_turns
    )
    mle_args.reward_aggregation = "sum"  # also its default, as `config.yaml` records it
    check_uniform(mle_args)
    check_not_adapter(model_args.model_name_or_path, model_args.model_revision)
    run = prepare_run(mle_args, training_args, model_args, tasks)
    # The reward function moves into the child process of the rollouts, of which there is one. Its sandbox opens there, on
    # first use, and has all of this machine's workers.
    reward = make_reward(mle_args, run.tasks, alone=True)
    settings = {"mle": asdict(mle_args), "training": training_args.to_dict(), "model": asdict(model_args)}
    try:
        with repository_errors(training_args):
            trainer = AsyncDurationAwareTrainer(
                model=model_args.model_name_or_path,
                reward_funcs=reward,
                args=training_args,
                train_dataset=prompts_dataset(run.tasks, prompts=1),
                processing_class=run.tokenizer,
                peft_config=get_peft_config(ModelConfig(**asdict(model_args))),
                callbacks=[RunRecorder(run.folder, settings)],
            )
        trainer.model_card_sections.update(policy_sections(mle_args, training_args, model_args, run.tasks))
        trainer.model_card_metadata.update(policy_metadata(model_args))
        trainer.train(resume_from_checkpoint=run.checkpoint)
    except (InfrastructureError, TimeoutError) as error:  # TRL raises TimeoutError if the server does not answer
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    # Before anything that may fail: hours of training must not be lost to a card.
    save_policy(trainer)
    after = AfterTraining()
    if training_args.process_index == 0:
        with after.step("The model card", f"The model itself is in {run.folder}."):
            trainer.create_model_card(model_name=run.folder.name)
    push_policy(trainer, after)
    return after.exit_code


if __name__ == "__main__":
    sys.exit(main())
