"""Settings of what inserts the milestone prints."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from trl_mle.config.base import URL, Keys, check_choice, check_least, check_seconds
from trl_mle.errors import ConfigError


@dataclass(frozen=True)
class InstrumentationConfig:
    """Parameters that control what inserts the milestone prints.

    Args:
        instrumenter (`str`, *optional*, defaults to `"ast"`):
            `"ast"` uses rules on the syntax tree and needs no model. `"llm"` asks a frozen language model and verifies its
            answer; if that fails, `"ast"` is used.

    > Parameters of the language model (`"llm"` only)

    Args:
        endpoint (`str`, *optional*):
            Base URL of an OpenAI-compatible server, such as `http://127.0.0.1:8001/v1`. Defaults to a model in this process,
            loaded with transformers.
        model (`str`, *optional*, defaults to `"Qwen/Qwen2.5-3B-Instruct"`):
            Name of the instrumentation model at the endpoint, or its hub id or path.
        api_key_variable (`str`, *optional*, defaults to `"OPENAI_API_KEY"`):
            Environment variable that holds the endpoint's key. The key itself is not a setting.
        answer_format (`str`, *optional*, defaults to `"lines"`):
            `"lines"` asks for the lines that reach milestones, `"rewrite"` for the whole program with prints, as in the paper.
        max_tokens (`int`, *optional*):
            Longest answer in tokens. Defaults to 500 for `"lines"` and 2,048 for `"rewrite"`.

    > Parameters of its requests (`"llm"` only)

    Args:
        concurrency (`int`, *optional*, defaults to `16`):
            Requests to the instrumentation model at the same time, per process.
        request_timeout_s (`float`, *optional*, defaults to `60.0`):
            Time limit of one request to the instrumentation model, in seconds.
        wait_s (`float`, *optional*, defaults to `120.0`):
            Seconds that one program waits for its answer, queue and retries included, before `"ast"` is used.
        retries (`int`, *optional*, defaults to `2`):
            Retries of a request after a transport error, a 408, 409, 425, 429 or 5xx.
        probe_after_s (`float`, *optional*, defaults to `30.0`):
            Seconds until an endpoint that is down is tried again. The pause doubles after each failed try, up to ten times
            this value.
        cache_dir (`str`, *optional*):
            Folder of the answers' cache, which processes may share. `"none"` caches nothing. Defaults to
            `trl_mle/instrumentation` in the user's cache folder.
    """

    KEYS: ClassVar[Keys] = {
        "instrumenter": "instrumenter",
        "endpoint": "instrumenter_endpoint",
        "model": "instrumenter_model",
        "api_key_variable": "instrumenter_key_variable",
        "answer_format": "instrumenter_answer_format",
        "concurrency": "instrumenter_concurrency",
        "request_timeout_s": "instrumenter_request_timeout_s",
        "wait_s": "instrumenter_wait_s",
        "cache_dir": "instrumenter_cache_dir",
    }

    instrumenter: Literal["ast", "llm"] = "ast"
    endpoint: str | None = None
    model: str = "Qwen/Qwen2.5-3B-Instruct"
    api_key_variable: str = "OPENAI_API_KEY"
    answer_format: Literal["lines", "rewrite"] = "lines"
    max_tokens: int | None = None
    concurrency: int = 16
    request_timeout_s: float = 60.0
    wait_s: float = 120.0
    retries: int = 2
    probe_after_s: float = 30.0
    cache_dir: str | None = None

    def __post_init__(self):
        check_choice("instrumenter", self.instrumenter, ("ast", "llm"))
        check_choice("answer_format", self.answer_format, ("lines", "rewrite"))
        if not self.model:
            raise ConfigError(
                "`model` of the instrumenter is empty; name a model, such as 'Qwen/Qwen2.5-3B-Instruct'."
            )
        if self.endpoint is not None and not re.fullmatch(URL, self.endpoint):
            raise ConfigError(
                "`endpoint` of the instrumenter must be a URL such as 'http://127.0.0.1:8001/v1', without user or password "
                "(keys belong in the environment)."
            )
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_variable) is None:  # it may be a key: not shown
            raise ConfigError(
                "`api_key_variable` is not the name of an environment variable. Write its name, such as 'OPENAI_API_KEY', "
                "never the key itself."
            )
        check_seconds(self, "request_timeout_s", "wait_s", "probe_after_s")
        check_least(self, concurrency=1, retries=0, max_tokens=1)
