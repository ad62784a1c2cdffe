"""`VLLMPolicy`: samples of a model by vLLM's asynchronous engine in this process."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from trl_mle.errors import ConfigError, missing_extra
from trl_mle.language_models.client import NoAnswerError
from trl_mle.language_models.sampling.local_policy import LocalPolicy
from trl_mle.language_models.sampling.policy import Sample
from trl_mle.language_models.sampling.tool_calls import parse_message

_ADAPTER = "adapter_config.json"


class VLLMPolicy(LocalPolicy):
    """A policy that vLLM runs in this process, for GPUs. Requests are batched by vLLM while they go on.

    The folder of an adapter is served as a LoRA request on its base model.

    Args:
        model (`str`):
            Hub id, folder of a model, or folder of an adapter.
        chat_template_kwargs (mapping, *optional*):
            Arguments of the chat template, as in training.
        samples_per_request (`int`, *optional*, defaults to `16`):
            Samples of a prompt that are one request.
        **engine:
            Fields of `vllm.AsyncEngineArgs`, such as `tensor_parallel_size`, `max_model_len`, `gpu_memory_utilization`.

    Raises:
        UserError: `vllm` is not installed.
        ConfigError: the model cannot be loaded, or has no chat template.
    """

    def __init__(
        self,
        model: str,
        *,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        samples_per_request: int = 16,
        **engine: Any,
    ):
        try:
            from vllm import AsyncEngineArgs
            from vllm.lora.request import LoRARequest
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise missing_extra("vllm", "vllm") from error
        super().__init__(model, chat_template_kwargs)
        self.samples_per_request = samples_per_request
        base, rank = _adapter(model)
        self._lora = LoRARequest("policy", 1, model) if base is not None else None
        if self._lora is not None:
            engine = {"enable_lora": True, "max_lora_rank": max(8, rank), **engine}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model)
            self._engine: Any = AsyncLLM.from_engine_args(AsyncEngineArgs(model=base or model, **engine))
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise ConfigError(f"vLLM cannot load the policy {model!r}: {error}") from error
        self._check_chat_template()

    async def sample(
        self,
        messages: Sequence[Mapping[str, Any]],
        n: int,
        *,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Sample]:
        """See [`Policy`]. vLLM seeds the `i`-th sample with `seed + i`."""
        from vllm import SamplingParams, TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        self._prepare_tools(tools)
        ids = self._ids(messages, tools)
        params = SamplingParams(
            n=n,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=seed,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        started, final = time.monotonic(), None
        try:
            async for output in self._engine.generate(
                TokensPrompt(prompt_token_ids=ids), params, uuid.uuid4().hex, lora_request=self._lora
            ):
                final = output
        except ValueError as error:  # a prompt that is longer than the context
            raise NoAnswerError("refused", str(error)) from error
        except Exception as error:  # the engine is a process of its own, and may die of anything
            message = f"vLLM failed: {type(error).__name__}: {error}"
            raise NoAnswerError("unavailable", message, permanent=True) from error
        if final is None or len(final.outputs) != n:
            raise NoAnswerError("unavailable", "vLLM has not answered every sample")
        seconds = time.monotonic() - started
        return [
            Sample(
                item.text,
                len(item.token_ids),
                item.finish_reason == "length",
                seconds,
                len(ids),
                message=None if tools is None else parse_message(self._tool_tokenizer, item.token_ids, ids, tools),
            )
            for item in sorted(final.outputs, key=lambda item: item.index)
        ]

    async def aclose(self) -> None:
        """See [`Policy`]."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.shutdown()


def _adapter(model: str) -> tuple[str | None, int]:
    """Base model and rank of an adapter's folder; `(None, 0)` for a whole model."""
    path = Path(model) / _ADAPTER
    if not path.is_file() or (Path(model) / "config.json").exists():
        return None, 0
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return str(content["base_model_name_or_path"]), int(content.get("r", 8))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no configuration of an adapter: {error!r}.") from error
