"""Train a policy with duration-aware GRPO while rollouts go on: a vLLM server writes, programs run, the learner never waits.

    VLLM_SERVER_DEV_MODE=1 vllm serve MODEL ... &
    accelerate launch --config_file accelerate_configs/fsdp2.yaml recipes/async_grpo_mle.py \
        --config recipes/qwen2.5-3b-instruct/async_grpo.yaml --tasks builtin:diamonds

The YAML file says how to start the server. Every key of it is also a flag; flags win.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from grpo_mle import make_reward, make_room, parse_settings, validate

from trl_mle.cli.errors import user_errors

USAGE = "async_grpo_mle.py --config FILE.yaml [--key value ...]    (--help lists every key)"


@dataclass
class PolicyArguments:
    """What the recipe takes from `trl.ModelConfig`, whose `dtype` the training's own settings have too.

    Args:
        model_name_or_path (`str`):
            Hub id or path of the policy; the vLLM server serves the same one.
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


def main(arguments: list[str] | None = None) -> int:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with user_errors():
        mle_args, training_args, model_args, tasks = parse(arguments)
        return train(mle_args, training_args, model_args, tasks)


def parse(arguments: list[str] | None):
    """Settings from YAML and flags, and the tasks that they name."""
    from trl_mle import AsyncDurationAwareConfig

    return parse_settings(arguments, AsyncDurationAwareConfig, PolicyArguments, USAGE)


def train(mle_args, training_args, model_args, tasks) -> int:
    from trl import ModelConfig, get_peft_config

    from trl_mle import AsyncDurationAwareTrainer, prompts_dataset
    from trl_mle.errors import InfrastructureError
    from trl_mle.scripts.checks import check_async, check_chat_template, load_tokenizer, resume_from
    from trl_mle.scripts.run_dir import RunRecorder

    check_async(model_args.use_peft)
    run_dir = Path(training_args.output_dir)
    checkpoint = resume_from(training_args)
    tokenizer = load_tokenizer(model_args, training_args)
    check_chat_template(tokenizer, model_args.model_name_or_path)
    with training_args.main_process_first(local=False, desc="making room for the run"):
        if checkpoint is None and training_args.process_index == 0:
            make_room(run_dir)
    if mle_args.validate_tasks and training_args.process_index == 0:
        validate(mle_args, tasks)
    if mle_args.program_time_limit_s is not None:  # the prompt tells the policy its limit
        tasks = {name: replace(task, time_limit_s=mle_args.program_time_limit_s) for name, task in tasks.items()}
    # The reward function moves into the child process of the rollouts, of which there is one: its sandbox opens there, on first
    # use.
    reward = make_reward(mle_args, tasks, alone=True)
    settings = {"mle": asdict(mle_args), "training": training_args.to_dict(), "model": asdict(model_args)}
    try:
        trainer = AsyncDurationAwareTrainer(
            model=model_args.model_name_or_path,
            reward_funcs=reward,
            args=training_args,
            train_dataset=prompts_dataset(tasks, prompts=1),
            processing_class=tokenizer,
            peft_config=get_peft_config(ModelConfig(**asdict(model_args))),
            callbacks=[RunRecorder(run_dir, settings)],
        )
        trainer.train(resume_from_checkpoint=checkpoint)
    except (InfrastructureError, TimeoutError) as error:  # a server that does not answer is a TimeoutError of TRL
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    trainer.save_model(training_args.output_dir)
    if training_args.process_index == 0:
        trainer.create_model_card(model_name=run_dir.name)
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(main())
