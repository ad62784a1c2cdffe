"""Train a policy on machine-learning-engineering tasks with duration-aware GRPO.

On a CPU, after `recipes/sft_mle.py` has trained the demo policy:

    accelerate launch --config_file accelerate_configs/cpu.yaml recipes/grpo_mle.py --config recipes/quickstart/grpo.yaml

On GPUs, with the paper's settings:

    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/grpo_mle.py \
        --config recipes/qwen2.5-3b-instruct/grpo.yaml --tasks builtin:diamonds

Every key of the YAML file is also a flag (`--learning_rate 1e-5`); flags win. `--help` lists them all. `trl-mle grpo` is the same
command of the installed package.
"""

import sys

from trl_mle.scripts.grpo import main, parse, train

__all__ = ["main", "parse", "train"]

if __name__ == "__main__":
    sys.exit(main())
