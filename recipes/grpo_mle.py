"""Train a policy on machine-learning-engineering tasks with duration-aware GRPO.

On a laptop, after `accelerate launch recipes/sft_mle.py --config recipes/quickstart/sft.yaml`:

    accelerate launch recipes/grpo_mle.py --config recipes/quickstart/grpo.yaml

On GPUs, with the paper's settings:

    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/grpo_mle.py \
        --config recipes/qwen2.5-3b-instruct/grpo.yaml --tasks builtin:diamonds

Every key of the YAML file is also a flag (`--learning_rate 1e-5`); flags win. `--help` lists them all.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from trl_mle.cli.errors import user_errors

USAGE = "grpo_mle.py --config FILE.yaml [--key value ...]    (--help lists every key)"


def main(arguments: list[str] | None = None) -> int:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # transformers 5.24 warns of an attribute that TRL 1.16 reads on every checkpoint.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    with user_errors():
        mle_args, training_args, model_args, tasks = parse(arguments)
        return train(mle_args, training_args, model_args, tasks)


def parse(arguments: list[str] | None):
    """Settings from YAML and flags, and the tasks that they name."""
    from trl import ModelConfig

    from trl_mle import DurationAwareConfig
    from trl_mle.scripts.checks import check_vllm

    return parse_settings(arguments, DurationAwareConfig, ModelConfig, USAGE, check_vllm)


def parse_settings(arguments, training_class, model_class, usage, *checks):
    """`parse` for any trainer; `checks` are called with the training's settings before tasks are prepared."""
    from trl import TrlParser

    from trl_mle import load_task
    from trl_mle.errors import ConfigError
    from trl_mle.scripts.arguments import MLEArguments
    from trl_mle.scripts.checks import check_model_path, check_task_ids, resume_from

    with user_errors(parsing=True):
        parser = TrlParser((MLEArguments, training_class, model_class), usage=usage)
        mle_args, training_args, model_args = parser.parse_args_and_config(arguments)
        if not model_args.model_name_or_path:
            raise ConfigError("`model_name_or_path` is not set. Give a hub id or the path of a model.")
        checkpoint = resume_from(training_args)
        check_model_path(model_args.model_name_or_path, None if checkpoint else training_args.output_dir)
        for check in checks:
            check(training_args)
    with training_args.main_process_first(local=False, desc="preparing the tasks"):
        tasks = {name: load_task(name) for name in mle_args.tasks}
    check_task_ids(tasks)
    return mle_args, training_args, model_args, tasks


def train(mle_args, training_args, model_args, tasks) -> int:
    from transformers import ProgressCallback
    from trl import get_peft_config, get_quantization_config

    from trl_mle import DurationAwareTrainer, prompts_dataset
    from trl_mle.errors import InfrastructureError
    from trl_mle.evaluation import report_run, scores_section
    from trl_mle.scripts.checks import check_chat_template, load_tokenizer, model_init_kwargs, resume_from
    from trl_mle.scripts.run_dir import RunRecorder
    from trl_mle.training.callbacks import GRPO_METRICS, MLEProgress

    run_dir = Path(training_args.output_dir)
    checkpoint = resume_from(training_args)
    tokenizer = load_tokenizer(model_args, training_args)
    check_chat_template(tokenizer, model_args.model_name_or_path)
    with training_args.main_process_first(local=False, desc="making room for the run"):
        if checkpoint is None and training_args.process_index == 0:
            make_room(run_dir)
    main_process = training_args.process_index == 0
    validations = validate(mle_args, tasks) if mle_args.validate_tasks and main_process else {}
    if mle_args.program_time_limit_s is not None:  # the prompt tells the policy its limit
        tasks = {name: replace(task, time_limit_s=mle_args.program_time_limit_s) for name, task in tasks.items()}

    training_args.model_init_kwargs = model_init_kwargs(model_args, training_args)
    reward = make_reward(mle_args, tasks)
    settings = {
        "mle": asdict(mle_args),
        "training": training_args.to_dict(),
        "model": asdict(model_args),
    }
    trainer = DurationAwareTrainer(
        model=model_args.model_name_or_path,
        reward_funcs=reward,
        args=training_args,
        train_dataset=prompts_dataset(
            tasks, prompts=training_args.generation_batch_size // training_args.num_generations
        ),
        processing_class=tokenizer,
        peft_config=get_peft_config(model_args),
        quantization_config=get_quantization_config(model_args),
        callbacks=[RunRecorder(run_dir, settings)],
    )
    if not training_args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(MLEProgress(GRPO_METRICS))
    stopped = 0
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except KeyboardInterrupt:
        stopped = 130
        print("\nInterrupted: what was reached so far follows.", file=sys.stderr)
    except InfrastructureError as error:
        stopped = 1
        print(f"\nerror: {error}\nTraining stopped: what was reached so far follows.", file=sys.stderr)
    finally:
        reward.close()
    if not stopped:
        trainer.save_model(training_args.output_dir)
    if main_process and training_args.save_rollouts and (run_dir / "rollouts").exists():
        by_id = {task.id: task for task in tasks.values()}
        summary = report_run(run_dir, by_id, validations)
        trainer.model_card_sections["Scores"] = scores_section(summary, validations)
    if stopped:
        return stopped
    trainer.create_model_card(model_name=run_dir.name)
    if training_args.push_to_hub:
        trainer.push_to_hub()
    return 0


def make_reward(mle_args, tasks, alone: bool = False):
    """The reward function that the settings ask for; `alone`: one process of the training runs all programs."""
    from trl_mle import MLEReward
    from trl_mle.sandboxes.backends import make_sandbox
    from trl_mle.scripts.checks import make_instrumenter

    backend = mle_args.backend_config(list(tasks.values()), alone)
    return MLEReward(
        sandbox=make_sandbox(mle_args.sandbox_backend, backend, mle_args.pool_config()),
        instrumenter=make_instrumenter(mle_args.instrumentation_config()),
        reward=mle_args.reward_config(),
        tasks=tasks,
    )


def validate(mle_args, tasks):
    """Scores of the tasks' own programs: shows that the sandbox and the tasks work before hours are spent on them."""
    import asyncio

    from trl_mle.evaluation import validate_task_once
    from trl_mle.sandboxes.backends import make_sandbox

    async def all_tasks():
        backend = mle_args.sandbox_backend
        one = {"max_sandboxes": 1} if backend == "e2b" else {"workers": 1}
        config = replace(mle_args.backend_config(list(tasks.values())), wall_s=None, **one)  # the tasks' own limits
        async with make_sandbox(backend, config, mle_args.pool_config()) as sandbox:
            return {task.id: await validate_task_once(task, sandbox) for task in tasks.values()}

    return asyncio.run(all_tasks())


def make_room(run_dir: Path) -> None:
    """Move an earlier run out of the way: nothing is overwritten."""
    if (run_dir / "rollouts").exists() or (run_dir / "metrics.jsonl").exists():
        started = datetime.fromtimestamp(run_dir.stat().st_mtime).strftime("%Y%m%d-%H%M%S")
        earlier = run_dir.with_name(f"{run_dir.name}-{started}")
        number = 1
        while earlier.exists():
            number += 1
            earlier = run_dir.with_name(f"{run_dir.name}-{started}-{number}")
        run_dir.rename(earlier)
        print(f"The earlier run in {run_dir} is now in {earlier}.", file=sys.stderr)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(main())
