"""Names within TRL's asynchronous trainer that tests replace; they depend on the version of TRL."""

from __future__ import annotations

from importlib import import_module

from trl_mle.training.async_grpo.trl_imports import STABLE

VLLM_CLIENT = "AsyncVLLMClient" if STABLE else "VLLMClient"
"""Name, within the module of the trainer, of the client for the vLLM server."""


def tree_attention() -> str | None:
    """Name under which TRL registers the attention of its packed batches; `None` if it has none."""
    module = "trl.trainer.async_grpo_trainer" if STABLE else "trl.experimental.async_grpo.packing"
    return getattr(import_module(module), "TREE_ATTENTION", None)
