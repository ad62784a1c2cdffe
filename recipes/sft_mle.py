"""Warm-start a policy on demonstrations: a plan and a program per prompt.

The demo policy has a few million parameters and is trained from nothing on a CPU in about a minute. A second call with the same
settings finds it and trains nothing:

    accelerate launch --config_file accelerate_configs/cpu.yaml recipes/sft_mle.py --config recipes/quickstart/sft.yaml

A real model, on your own demonstrations or on generated ones:

    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/sft_mle.py \
        --model_name_or_path Qwen/Qwen2.5-3B-Instruct --demonstrations demonstrations.jsonl \
        --output_dir runs/warm-start --bf16 true

A row of demonstrations has `messages`, whose last message is the assistant's, or `prompt` and `completion`. The loss is on the
completion only. Every key of the YAML file is also a flag; flags win. `--help` lists them all. `trl-mle sft` is the same command
of the installed package.
"""

import sys

from trl_mle.scripts.sft import main, parse, train

__all__ = ["main", "parse", "train"]

if __name__ == "__main__":
    sys.exit(main())
