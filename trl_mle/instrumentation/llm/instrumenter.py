"""`LLMInstrumenter`: a frozen language model says where a program reaches its milestones, and is not taken at its word."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from trl_mle.circuit_breaker import Circuit
from trl_mle.config import InstrumentationConfig
from trl_mle.errors import ConfigError
from trl_mle.instrumentation import fallbacks
from trl_mle.instrumentation.ast_instrumenter import ASTInstrumenter
from trl_mle.instrumentation.llm.answer import Rejected
from trl_mle.instrumentation.llm.prompt import DEFAULT_MAX_TOKENS, build_messages, prompt_version
from trl_mle.instrumentation.llm.propose import apply_answer
from trl_mle.instrumentation.marks import mark
from trl_mle.language_models.backends import Backend, OpenAIBackend
from trl_mle.language_models.cache import AnswerCache, DiskCache, NoCache, cache_key, default_cache_dir
from trl_mle.language_models.client import Asker
from trl_mle.types import MILESTONES, InstrumentedProgram, Program

logger = logging.getLogger(__name__)

MAX_PROGRAM_CHARS = 40_000
"""Longer programs are not sent."""
_COUNTED = (
    "requests",
    "request_errors",
    "cache_hits",
    "joined",
    "claims_kept",
    "claims_moved",
    "claims_dropped",
    "marks_added",
)


class LLMInstrumenter:
    """Inserts the marks that a frozen language model proposes, as far as they are verified (paper, environment
    instrumentation).

    The model answers with copied lines, or with the program rewritten with plain prints; it never sees the nonce. Its
    answer is used only if it holds no other change of the program, a mark never stands before what it claims, and the
    marks of `ASTInstrumenter` stand whatever it says (see `claims`). The marks are then put into the policy's own text, and
    the result is verified as that of `ASTInstrumenter`, which does the work where the answer, or the endpoint, fails:
    `fallback_reason` says why.

    Args:
        config ([`InstrumentationConfig`], *optional*):
            All settings. Give either this or the keywords.
        backend ([`Backend`], *optional*):
            Who answers. Defaults to the endpoint of the settings.
        cache ([`AnswerCache`], *optional*):
            Where answers are kept. Defaults to the folder of the settings.
        **settings:
            Fields of `InstrumentationConfig`, such as `endpoint` and `model`.

    Raises:
        UserError: the package of the client or of the cache is not installed.
        ConfigError: there is neither an endpoint nor a backend.

    Example:

    ```python
    instrumenter = LLMInstrumenter(endpoint="http://127.0.0.1:8001/v1", model="Qwen/Qwen2.5-3B-Instruct")
    instrumented = await instrumenter.instrument(program, new_nonce())
    ```
    """

    def __init__(
        self,
        config: InstrumentationConfig | None = None,
        *,
        backend: Backend | None = None,
        cache: AnswerCache | None = None,
        **settings: Any,
    ):
        if config is not None and settings:
            raise ConfigError(f"`config` and {sorted(settings)} were both given; put the values into the config.")
        self.config = config or InstrumentationConfig(instrumenter="llm", **settings)
        self.max_tokens = self.config.max_tokens or DEFAULT_MAX_TOKENS[self.config.answer_format]
        self.backend: Backend = backend or self._endpoint()
        self.cache: AnswerCache = cache or _cache(self.config.cache_dir)
        self.counts: Counter[str] = Counter()
        self._cache_errors_seen = 0
        name = f"The instrumentation model {self.backend.model!r}"
        name += f" at {self.config.endpoint}" if backend is None else ""
        self._circuit = Circuit(
            name,
            self.config.probe_after_s,
            when_open="Programs are instrumented from their syntax tree instead, and it is tried again every now and then "
            "(metric instrumentation/fallback_share).",
            when_closed="Programs are instrumented by the model again.",
        )
        self._fallback = ASTInstrumenter()
        self._asker: Asker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def instrument(self, program: Program, nonce: str) -> InstrumentedProgram:
        """Return `program` with marks that carry `nonce`; within `wait_s` seconds, whatever the endpoint does.

        Raises:
            UserError: `nonce` has the wrong form.
        """
        mark(nonce, MILESTONES[0])  # a wrong nonce is the caller's error
        plain = await asyncio.to_thread(self._fallback.instrument, program, nonce)
        if plain.fallback_kind in (fallbacks.NOT_PARSED, fallbacks.HAS_MARKS, fallbacks.HAZARD):
            return replace(plain, instrumenter="llm")  # nothing may be inserted, so there is nothing to ask
        try:
            return await self._by_model(program, nonce)
        except Rejected as rejection:
            return _fall_back(plain, rejection.kind, rejection.reason)
        except Exception as error:  # a bug of ours must not stop training, and must be seen
            logger.exception("Instrumentation by the model failed")
            return _fall_back(plain, fallbacks.ERROR, f"{type(error).__name__}: {error}")

    async def _by_model(self, program: Program, nonce: str) -> InstrumentedProgram:
        answer_format = self.config.answer_format
        if len(program.code) > MAX_PROGRAM_CHARS:
            raise Rejected(fallbacks.TOO_LONG, f"the program has {len(program.code)} characters")
        key = cache_key(
            program.code, self.backend.model, prompt_version(answer_format), answer_format, self.max_tokens
        )
        answer = await self._here().ask(key, build_messages(program.code, answer_format))
        if answer.truncated:
            raise Rejected(fallbacks.TRUNCATED, "the answer was cut off")
        applied = await asyncio.to_thread(apply_answer, program, answer.text, answer_format, nonce)
        self.counts["claims_kept"] += applied.kept
        self.counts["claims_moved"] += applied.moved
        self.counts["claims_dropped"] += len(applied.dropped)
        self.counts["marks_added"] += len(applied.added)
        for words in applied.dropped:
            logger.debug("A claim of the model was dropped: %s", words)
        return applied.program

    def take_metrics(self) -> dict[str, float]:
        """Metric -> value since the last call: counts, the accesses to the cache that failed, and seconds a request."""
        taken = {f"instrumentation/{name}": float(self.counts[name]) for name in _COUNTED}
        taken["instrumentation/cache_errors"] = float(self.cache.errors - self._cache_errors_seen)
        self._cache_errors_seen = self.cache.errors
        if requests := self.counts["requests"]:
            taken["instrumentation/request_s"] = self.counts["request_ms"] / 1000 / requests
        self.counts.clear()
        return taken

    async def aclose(self) -> None:
        """Give back the connections."""
        await self.backend.aclose()

    def _here(self) -> Asker:
        """What belongs to the running event loop."""
        loop = asyncio.get_running_loop()
        if self._asker is None or self._loop is not loop:
            self._loop = loop
            self._asker = Asker(
                self.backend,
                self.cache,
                self._circuit,
                self.counts,
                concurrency=self.config.concurrency,
                retries=self.config.retries,
                wait_s=self.config.wait_s,
            )
        return self._asker

    def _endpoint(self) -> Backend:
        config = self.config
        if config.endpoint is None:
            raise ConfigError(
                "`endpoint` is not set. Give the URL of an OpenAI-compatible server, such as 'http://127.0.0.1:8001/v1', or "
                "a `backend` (`trl_mle.language_models.transformers_backend.TransformersBackend` runs the model in this process)."
            )
        return OpenAIBackend(
            config.endpoint, config.model, config.api_key_variable, self.max_tokens, config.request_timeout_s
        )


def _cache(folder: str | None) -> AnswerCache:
    if folder == "none":
        return NoCache()
    return DiskCache(default_cache_dir() if folder is None else Path(folder).expanduser())


def _fall_back(plain: InstrumentedProgram, kind: str, reason: str) -> InstrumentedProgram:
    words = f"llm: {reason}" + (f"; ast: {plain.fallback_reason}" if plain.fallback_reason else "")
    return replace(plain, fallback_reason=words, fallback_kind=kind, instrumenter="llm")
