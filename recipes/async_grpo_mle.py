"""Train a policy with duration-aware GRPO while rollouts go on: a vLLM server generates, programs run, the learner never waits.

    VLLM_SERVER_DEV_MODE=1 vllm serve MODEL ... &
    accelerate launch --config_file accelerate_configs/fsdp2.yaml recipes/async_grpo_mle.py \
        --config recipes/qwen2.5-3b-instruct/async_grpo.yaml --tasks builtin:diamonds

The YAML file says how to start the server. Every key of it is also a flag; flags win. `trl-mle async-grpo` is the same command of
the installed package.
"""

import sys

from trl_mle.scripts.async_grpo import main, parse, train

__all__ = ["main", "parse", "train"]

if __name__ == "__main__":
    sys.exit(main())
