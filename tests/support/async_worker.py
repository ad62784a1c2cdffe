"""Asynchronous rollouts without vLLM and without a GPU: an injected worker, no weight transfer, plain attention."""

from __future__ import annotations

import queue

import numpy as np
import torch
from transformers import AttentionInterface

from tests.support.tiny import tiny_model, tiny_tokenizer
from tests.support.trl_async import VLLM_CLIENT, tree_attention
from trl_mle import AsyncDurationAwareConfig, AsyncDurationAwareTrainer
from trl_mle.training.async_grpo.trl_imports import RolloutSample, async_grpo_trainer


class Worker:
    """Gives the samples of a list, whose `model_version` is how many versions old they are when they are taken."""

    def __init__(self, samples):
        self.samples = samples
        self.rollout_buffer, self.metrics_queue = queue.Queue(), queue.Queue()
        self.version = 0

    def start(self):
        for sample in self.samples:
            self.rollout_buffer.put(sample)

    def stop(self):
        pass

    def update_model_version(self, version):
        self.version = version

    def check_health(self, stale_after_s):
        raise RuntimeError("the worker has no more samples")


class NoTransfer:
    def init_weight_transfer(self):
        pass

    pause = resume = destroy = init_weight_transfer

    def send_weights(self, iterator):
        for _ in iterator:
            pass


def sample(row, *, advantage, seconds, version=1, reward=1.0, group=None):
    rng = np.random.default_rng(row)
    tokens = rng.integers(5, 250, 10)
    metrics = {"reward_std": 1.0}
    if reward is not ...:
        metrics["reward"] = reward
    if seconds is not ...:
        metrics["action_duration"] = float("nan") if seconds is None else seconds
    return RolloutSample(
        prompt=[{"role": "user", "content": "p"}],
        completion=[{"role": "assistant", "content": "c"}],
        input_ids=tokens,
        completion_mask=np.array([0] * 4 + [1] * (4 + row % 3) + [0] * (2 - row % 3)),
        old_log_probs=np.full(10, -5.5, dtype=np.float32),
        advantage=advantage,
        model_version=version,
        group_id=row // 4 if group is None else group,
        metrics=metrics,
    )


def plain_attention(
    module, query, key, value, mask, tree_kv_index, tree_cu_seqlens_q, tree_cu_seqlens_k, scaling=None, **kwargs
):
    """What `tree_fa3` computes: every segment attends to the keys of its path, causally from the end."""
    heads = query.size(1) // key.size(1)
    key, value = (x[0].repeat_interleave(heads, 0)[:, tree_kv_index] for x in (key, value))
    parts = []
    for segment in range(tree_cu_seqlens_q.numel() - 1):
        q = query[0][:, tree_cu_seqlens_q[segment] : tree_cu_seqlens_q[segment + 1]]
        span = slice(tree_cu_seqlens_k[segment], tree_cu_seqlens_k[segment + 1])
        allowed = torch.ones(q.size(1), key[:, span].size(1)).tril(key[:, span].size(1) - q.size(1)).bool()
        parts.append(
            torch.nn.functional.scaled_dot_product_attention(
                q, key[:, span], value[:, span], attn_mask=allowed, scale=scaling
            )
        )
    return torch.cat(parts, 1).transpose(0, 1).unsqueeze(0), None


def async_trainer(
    folder,
    samples,
    trainer_class=AsyncDurationAwareTrainer,
    config_class=AsyncDurationAwareConfig,
    worker=True,
    **changes,
):
    policy = folder / "policy"
    tiny_model().save_pretrained(policy)  # by the first process, where there are several
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    async_grpo_trainer.get_peak_flops_per_device = lambda *args: None
    setattr(async_grpo_trainer, VLLM_CLIENT, lambda *args: None)  # there is no server to ask
    settings = {
        "output_dir": str(folder / "run"),
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "token_budget": 0,
        "max_steps": 2,
        "learning_rate": 1e-2,
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "disable_tqdm": True,
        "max_staleness": 4,
    }
    trainer = trainer_class(
        model=str(policy),
        reward_funcs=[],
        args=config_class(**{**settings, **changes}),
        train_dataset=_prompts(),
        processing_class=tiny_tokenizer(),
        rollout_worker=Worker(samples) if worker else None,
        weight_transfer=NoTransfer(),
    )
    AttentionInterface.register(tree_attention(), plain_attention)
    return trainer


def _prompts():
    from datasets import Dataset

    return Dataset.from_list([{"prompt": [{"role": "user", "content": "p"}]}] * 4)


class Recording(AsyncDurationAwareTrainer):
    """Keeps step and advantages of every micro-batch that a loss is computed on."""

    def __init__(self, *args, **kwargs):
        self.seen = []
        super().__init__(*args, **kwargs)

    def compute_loss(self, model, inputs, *args, **kwargs):
        trained_on = inputs["token_index"][0] >= 0
        self.seen.append((self.state.global_step, inputs["advantages"][0][trained_on].clone()))
        return super().compute_loss(model, inputs, *args, **kwargs)
