"""`EvaluateArguments`: the keys of `trl-mle evaluate`, beside those of the sandbox, the instrumenter and the reward."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from typing import Any

from trl_mle.config import CurriculumConfig, ExperienceConfig
from trl_mle.errors import ConfigError
from trl_mle.evaluation.candidates import OWN_PROGRAMS, Candidate, of_source
from trl_mle.evaluation.settings import EvaluationSettings
from trl_mle.language_models.sampling import PolicySource, Prices, parse_source
from trl_mle.scripts.arguments import MLEArguments, _keys
from trl_mle.scripts.trained_policies import Training

MAX_TOKENS = 4096
"""Longest completion, in tokens, if no policy's training says otherwise."""
_FOR_EVALUATION = frozenset({"max_prompt_tokens"})
"""Keys of training's configurations that an evaluation has, too."""


def _help(text: str, default: Any = None) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class EvaluateArguments(MLEArguments):
    """Parameters of an evaluation. Those of the run as a whole, the sandbox, the instrumenter and the reward are inherited.

    Args:
        policies (`list[str]`):
            What is evaluated: a folder or hub id, `vllm:` and one of these, `MODEL@URL` for an OpenAI-compatible endpoint,
            `reference` or `baseline` for the tasks' own programs; `NAME=` may stand before each.
        output_dir (`str`, *optional*, defaults to `"runs/evaluation"`):
            Folder of the evaluation. A later call continues it.
        n (`int`, *optional*, defaults to `128`):
            Samples per policy and task.
        mode (`str`, *optional*):
            `scratch`, `improve` or `agent`, see [`EvaluationSettings`]. Defaults to `agent` with `agent_turns`, else to `scratch`.
        seed, temperature, top_p, max_tokens, max_prompt_tokens, fault_retries:
            See [`EvaluationSettings`]. Temperature, top_p and the longest completion default to those of the policies' training.
        train_tasks (`list[str]`, *optional*):
            Ids of the tasks that the policies were trained on. Defaults to what their runs say.
        compare_to (`str`, *optional*):
            Policy that the others are compared to. Defaults to the first one.
        prompt_price, completion_price (`float`, *optional*):
            Price of a million tokens of the endpoints.
        api_key_variable (`str`, *optional*, defaults to `"OPENAI_API_KEY"`):
            Environment variable that holds the endpoints' key.
        concurrency (`int`, *optional*, defaults to `16`):
            Requests to an endpoint at the same time.
        request_timeout_s (`float`, *optional*, defaults to `600.0`):
            Time limit of a request to an endpoint.
        request_fields (`str`, *optional*):
            JSON object of fields that requests to endpoints have, too; `null` removes one.
        batch_size (`int`, *optional*):
            Most samples of a batch, for models in this process.
        dtype (`str`, *optional*, defaults to `"auto"`):
            Data type of their weights.
        chat_template_kwargs (`str`, *optional*):
            JSON object of arguments of their chat template.
        vllm_fields (`str`, *optional*):
            JSON object of arguments of `vllm.AsyncEngineArgs`.
    """

    validate_tasks: bool = _help("Run each task's baseline and reference solution before the evaluation.", False)
    policies: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Folder, hub id, vllm:MODEL, MODEL@URL, reference or baseline; NAME= may stand before each."
        },
    )
    output_dir: str = _help("Folder of the evaluation. A later call continues it.", "runs/evaluation")
    n: int = _help("Samples per policy and task.", 128)
    mode: str | None = _help(
        "scratch, improve (half of the samples improve the best of the others) or agent. Defaults to agent with agent_turns, "
        "else to scratch."
    )
    seed: int = _help("Seed of all samples.", 0)
    temperature: float | None = _help("Temperature. Defaults to that of the policies' training, or 1.")
    top_p: float | None = _help(
        "Share of the probability that is sampled from. Defaults to that of the training, or 1."
    )
    max_tokens: int | None = _help(f"Longest completion in tokens. Defaults to that of the training, or {MAX_TOKENS}.")
    max_prompt_tokens: int | None = _help(
        "Longest prompt with an earlier program, in tokens. Defaults to what the context of a model in this process leaves."
    )
    fault_retries: int = _help("How often a sample is scored again after an infrastructure fault.", 2)
    train_tasks: list[str] | None = field(
        default=None, metadata={"help": "Ids of the tasks of training. Defaults to what the policies' runs say."}
    )
    compare_to: str | None = _help("Policy that the others are compared to. Defaults to the first one.")
    prompt_price: float | None = _help("Price of a million prompt tokens of the endpoints.")
    completion_price: float | None = _help("Price of a million completion tokens of the endpoints.")
    api_key_variable: str = _help("Environment variable that holds the endpoints' key.", "OPENAI_API_KEY")
    concurrency: int = _help("Requests to an endpoint at the same time.", 16)
    request_timeout_s: float = _help("Time limit of a request to an endpoint, in seconds.", 600.0)
    request_fields: str | None = _help("JSON object of fields that requests have, too; null removes one.")
    batch_size: int | None = _help("Most samples of a batch, for models in this process.")
    dtype: str = _help("Data type of the weights, for models in this process.", "auto")
    chat_template_kwargs: str | None = _help("JSON object of arguments of the chat template.")
    vllm_fields: str | None = _help("JSON object of arguments of vllm.AsyncEngineArgs.")

    def __post_init__(self):
        super().__post_init__()
        if not self.policies or not all(self.policies):
            raise ConfigError(
                "`policies` is empty. Name at least one: a folder, a hub id, `MODEL@http://HOST:PORT/v1`, or `reference`."
            )
        if self.agent_turns and self.mode not in (None, "agent"):
            raise ConfigError(
                f"`agent_turns` is {self.agent_turns} and `mode` is {self.mode!r}. Leave one of them out."
            )
        for config in (ExperienceConfig, CurriculumConfig):
            for item in fields(config):
                key = _keys(config).get(item.name)
                if (
                    key is not None
                    and key.name not in _FOR_EVALUATION
                    and getattr(self, key.name) != _default(type(self), key.name)
                ):
                    raise ConfigError(
                        f"`{key.name}` is a setting of training; `trl-mle evaluate` does not use it. Leave it out."
                    )

    def settings(self, trainings: list[Training]) -> EvaluationSettings:
        """Settings of the samples. What is not given comes from the policies' training.

        Raises:
            ConfigError: a value cannot work, or the trainings differ.
        """

        def chosen(name: str, default: Any) -> Any:
            if (given := getattr(self, name)) is not None:
                return given
            known = {value for training in trainings if (value := getattr(training, name)) is not None}
            if len(known) > 1:
                raise ConfigError(
                    f"The policies were trained with different `{name}`: {sorted(known)}. Give `{name}`."
                )
            return next(iter(known), default)

        return EvaluationSettings(
            n=self.n,
            mode=self.mode or ("agent" if self.agent_turns else "scratch"),  # type: ignore[arg-type]  # checked there
            seed=self.seed,
            temperature=chosen("temperature", 1.0),
            top_p=chosen("top_p", 1.0),
            max_tokens=chosen("max_tokens", MAX_TOKENS),
            max_prompt_tokens=self.max_prompt_tokens,
            fault_retries=self.fault_retries,
        )

    def candidates(self, trainings: dict[str, Training]) -> list[Candidate]:
        """What is evaluated; `trainings` are by the policy's text."""
        candidates = []
        for text in self.policies:
            name, equals, rest = text.partition("=")
            program = rest if equals else text
            if program in OWN_PROGRAMS:
                called = name if equals else program
                candidates.append(Candidate(called, f"the tasks' {program} programs", program=program))  # type: ignore[arg-type]
                continue
            source = parse_source(text)
            known = trainings.get(text)
            options = self._options(source)
            candidates.append(
                of_source(
                    PolicySource(source.name, source.model, source.kind, source.endpoint, options),
                    trained_on=None if known is None else known.tasks,
                )
            )
        return candidates

    def _options(self, source: PolicySource) -> dict[str, Any]:
        """Arguments of [`open_policy`] for a policy of this kind."""
        template = {"chat_template_kwargs": _json("chat_template_kwargs", self.chat_template_kwargs)}
        if source.kind == "transformers":
            return {"batch_size": self.batch_size, "dtype": self.dtype, **template}
        if source.kind == "vllm":
            return {"dtype": self.dtype, **template, **_json("vllm_fields", self.vllm_fields)}
        prices = None
        if self.prompt_price is not None or self.completion_price is not None:
            prices = Prices(self.prompt_price or 0.0, self.completion_price or 0.0)
        return {
            "api_key_variable": self.api_key_variable,
            "concurrency": self.concurrency,
            "timeout_s": self.request_timeout_s,
            "prices": prices,
            "extra": _json("request_fields", self.request_fields),
        }


def _default(cls: type, name: str) -> Any:
    return next(item.default for item in fields(cls) if item.name == name)


def _json(name: str, text: str | None) -> dict[str, Any]:
    try:
        content = json.loads(text, parse_constant=lambda constant: math.nan) if text is not None else {}
        if not isinstance(content, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        raise ConfigError(f"`{name}` is {text!r}, which is no JSON object: {error}.") from error
    return content
