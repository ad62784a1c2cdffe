"""`open_policy`: a policy from its source."""

from __future__ import annotations

from typing import Any

from trl_mle.errors import ConfigError
from trl_mle.language_models.sampling.policy import Policy, PolicySource, parse_source


def open_policy(source: PolicySource | str, *, endpoint: str | None = None, **options: Any) -> Policy:
    """Open a policy for sampling. Close it with `await policy.aclose()`.

    Args:
        source ([`PolicySource`] or `str`):
            A source, or its text as [`parse_source`] reads it: a folder, a hub id, `vllm:` and one of these, or `MODEL@URL`.
        endpoint (`str`, *optional*):
            Base URL of an OpenAI-compatible endpoint; `source` is then the name of the model there.
        **options:
            Settings of the kind of policy: [`TransformersPolicy`], [`VLLMPolicy`] or [`EndpointPolicy`].

    Raises:
        UserError: a package is missing, the model cannot be loaded, or a setting cannot work.

    Example:

    ```python
    policy = open_policy("runs/quickstart")
    samples = await policy.sample(messages, 4, temperature=1.0, top_p=1.0, max_tokens=512, seed=0)
    ```
    """
    if endpoint is not None:
        model = source.model if isinstance(source, PolicySource) else source
        source = PolicySource(model, model, "endpoint", endpoint)
    elif isinstance(source, str):
        source = parse_source(source)
    settings = {**source.options, **options}
    try:
        if source.kind == "endpoint":
            from trl_mle.language_models.sampling.endpoint_policy import EndpointPolicy

            return EndpointPolicy(source.model, str(source.endpoint), **settings)
        if source.kind == "vllm":
            from trl_mle.language_models.sampling.vllm_policy import VLLMPolicy

            return VLLMPolicy(source.model, **settings)
        from trl_mle.language_models.sampling.transformers_policy import TransformersPolicy

        return TransformersPolicy(source.model, **settings)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise ConfigError(
            f"The policy {source.name!r} ({source.kind}) does not take such a setting: {error}."
        ) from error
