"""Policies that are sampled from: a model in this process (transformers, vLLM), or an OpenAI-compatible endpoint."""

from trl_mle.language_models.sampling.open import open_policy
from trl_mle.language_models.sampling.policy import Policy, PolicySource, Prices, Sample, parse_source
from trl_mle.language_models.sampling.tool_calls import tool_schemas

__all__ = ["Policy", "PolicySource", "Prices", "Sample", "open_policy", "parse_source", "tool_schemas"]
