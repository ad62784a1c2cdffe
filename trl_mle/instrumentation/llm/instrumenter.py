"""`LLMInstrumenter`: a frozen language model proposes where a program reaches its milestones, and each claim is verified."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from trl_mle.circuit_breaker import CircuitBreaker
from trl_mle.config import InstrumentationConfig
from trl_mle.errors import ConfigError
from trl_mle.instrumentation import fallbacks
from trl_mle.instrumentation.analysis.budget import BudgetExceededError, budget
from trl_mle.instrumentation.ast_instrumenter import ASTInstrumenter
from trl_mle.instrumentation.insertion import BYTE_ORDER_MARK, find_elifs, render, split_lines
from trl_mle.instrumentation.llm.answer import MAX_ANSWER_CHARS, Rejected, read_answer
from trl_mle.instrumentation.llm.claims import place
from trl_mle.instrumentation.llm.prompt import DEFAULT_MAX_TOKENS, AnswerFormat, build_messages, prompt_version
from trl_mle.instrumentation.marks import mark
from trl_mle.instrumentation.verify import parse
from trl_mle.language_models.backends import Backend, OpenAIBackend
from trl_mle.language_models.cache import AnswerCache, DiskCache, NoCache, cache_key, default_cache_dir
from trl_mle.language_models.client import ClientTiming, ModelClient, NoAnswerError
from trl_mle.special_tokens import escape_code
from trl_mle.types import MILESTONES, InstrumentedProgram, Program

logger = logging.getLogger(__name__)

MAX_PROGRAM_CHARS = 40_000
"""Longest program that is sent to the model, in characters."""
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
_NOT_ASKED = (
    fallbacks.NOT_PARSED, fallbacks.HAS_MARKS, fallbacks.HAZARD, fallbacks.TOO_COMPLEX, fallbacks.FAILED
)  # fmt: skip
_FALLBACK_KINDS = {
    "timeout": fallbacks.TIMEOUT,
    "unavailable": fallbacks.UNAVAILABLE,
    "refused": fallbacks.REFUSED,
}
"""Fallback kind by `NoAnswerError.kind`."""


class LLMInstrumenter:
    """Inserts the marks that a frozen language model proposes and that can be verified (paper, section on environment
    instrumentation).

    The model answers with copied lines of the program, or with the program rewritten with plain prints. The model never sees
    the nonce. An answer is used only if it changes nothing else in the program. A mark never stands before the code that it
    claims, and the marks of `ASTInstrumenter` are inserted whatever the model says (see `claims`). The marks are put into the
    policy's own text, and the result is verified as that of `ASTInstrumenter` is. If the answer cannot be used or the endpoint
    fails, the program of `ASTInstrumenter` is returned, with the cause in `fallback_reason`.

    Args:
        config ([`InstrumentationConfig`], *optional*):
            All settings. Give either `config` or its fields as keywords.
        backend ([`Backend`], *optional*):
            Model that answers. Defaults to the endpoint of the settings.
        cache ([`AnswerCache`], *optional*):
            Store of answers. Defaults to the folder of the settings.
        timing ([`ClientTiming`], *optional*):
            Waiting times between the tries of one question.
        **settings:
            Fields of `InstrumentationConfig`, such as `endpoint` and `model`.

    Raises:
        UserError: the package of the client or of the cache is not installed.
        ConfigError: neither an endpoint nor a backend is given.

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
        timing: ClientTiming | None = None,
        **settings: Any,
    ):
        if config is not None and settings:
            raise ConfigError(f"`config` and {sorted(settings)} were both given; put the values into the config.")
        self.config = config or InstrumentationConfig(instrumenter="llm", **settings)
        self.max_tokens = self.config.max_tokens or DEFAULT_MAX_TOKENS[self.config.answer_format]
        self.backend: Backend = backend or self._endpoint()
        self.cache: AnswerCache = _cache(self.config.cache_dir) if cache is None else cache
        self.counts: Counter[str] = Counter()
        self._cache_errors_seen = 0
        name = f"The instrumentation model {self.backend.model!r}"
        name += f" at {self.config.endpoint}" if backend is None else ""
        self.client = ModelClient(
            self.backend,
            self.cache,
            CircuitBreaker(
                name,
                self.config.probe_after_s,
                when_open="Programs are instrumented from their syntax tree instead, and it is tried again every now and then "
                "(metric instrumentation/fallback_share).",
                when_closed="Programs are instrumented by the model again.",
            ),
            self.counts,
            concurrency=self.config.concurrency,
            retries=self.config.retries,
            wait_s=self.config.wait_s,
            max_answer_chars=MAX_ANSWER_CHARS,
            timing=timing,
        )
        self._fallback = ASTInstrumenter()

    @property
    def wait_s(self) -> float:
        """Seconds that one program waits for its answer, queue and retries included."""
        return self.config.wait_s

    async def instrument(self, program: Program, nonce: str) -> InstrumentedProgram:
        """Insert marks that carry `nonce` into `program`, within `wait_s` seconds whatever the endpoint does.

        Raises:
            UserError: `nonce` has the wrong form.
        """
        mark(nonce, MILESTONES[0])  # a wrong nonce is the caller's error: it must not end as a fallback
        plain = await asyncio.to_thread(self._fallback.instrument, program, nonce)
        # Nothing may be inserted into such a program, or no answer could be verified, so there is nothing to ask.
        if plain.fallback_kind in _NOT_ASKED:
            return replace(plain, instrumenter="llm")
        try:
            return await self._by_model(program, nonce)
        except NoAnswerError as error:
            return _fall_back(plain, _FALLBACK_KINDS[error.kind], str(error))
        except Rejected as rejection:
            return _fall_back(plain, rejection.kind, rejection.reason)
        except Exception as error:  # a bug of this package must not stop training, and must be seen
            logger.exception("Instrumentation by the model failed")
            return _fall_back(plain, fallbacks.ERROR, f"{type(error).__name__}: {error}")

    async def instrument_async(self, program: Program, nonce: str) -> InstrumentedProgram:
        """See [`Instrumenter`]; an alias of `instrument`."""
        return await self.instrument(program, nonce)

    async def _by_model(self, program: Program, nonce: str) -> InstrumentedProgram:
        answer_format = self.config.answer_format
        if len(program.code) > MAX_PROGRAM_CHARS:
            raise Rejected(fallbacks.TOO_LONG, f"the program has {len(program.code)} characters")
        key = cache_key(
            escape_code(program.code),
            self.backend.model,
            prompt_version(answer_format),
            answer_format,
            self.max_tokens,
        )
        answer = await self.client.ask(build_messages(program.code, answer_format), key)
        if answer.truncated:
            raise Rejected(fallbacks.TRUNCATED, "the answer was cut off")
        applied = await asyncio.to_thread(apply_answer, program, answer.text, answer_format, nonce)
        self.counts["claims_kept"] += applied.claims_kept
        self.counts["claims_moved"] += applied.claims_moved
        self.counts["claims_dropped"] += len(applied.dropped)
        self.counts["marks_added"] += len(applied.added)
        for reason in applied.dropped:
            logger.debug("A claim of the model was dropped: %s", reason)
        return applied.program

    def take_metrics(self) -> dict[str, float]:
        """Metrics since the last call: counts, failed accesses to the cache, and mean seconds per request."""
        taken = {f"instrumentation/{name}": float(self.counts[name]) for name in _COUNTED}
        taken["instrumentation/cache_errors"] = float(self.cache.errors - self._cache_errors_seen)
        self._cache_errors_seen = self.cache.errors
        if requests := self.counts["requests"]:
            taken["instrumentation/request_s"] = self.counts["request_ms"] / 1000 / requests
        self.counts.clear()
        return taken

    async def aclose(self) -> None:
        """Release the backend's connections. The instrumenter can be used again afterwards."""
        await self.client.aclose()

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


class Applied(NamedTuple):
    """Result of `apply_answer`: a verified program, and what became of each claim."""

    program: InstrumentedProgram
    claims_kept: int
    """Number of claims whose marks stand where the model put them."""
    claims_moved: int
    """Number of claims that were too early or in a loop: their marks stand where `ASTInstrumenter` puts them."""
    added: tuple[str, ...]
    """Milestones that the program proves and the model did not claim."""
    dropped: tuple[str, ...]
    """Reason for each claim that was dropped."""


def apply_answer(program: Program, answer: str, answer_format: AnswerFormat, nonce: str) -> Applied:
    """Insert into `program` the marks that `answer` claims and that can be verified. Asks no model.

    The result is made from the text of the program, never from the text of the answer.

    Args:
        program ([`Program`]):
            A program that parses and is free of hazards.
        answer (`str`):
            The model's answer; any text.
        answer_format (`str`):
            Form in which the model was asked to answer.
        nonce (`str`):
            Secret of this run.

    Raises:
        Rejected: the answer cannot be used, or not verified within the budget of the analysis; its `reason` says why.
        RecursionError: the program is nested too deeply.
    """
    try:
        with budget():
            return _apply(program, answer, answer_format, nonce)
    except BudgetExceededError as error:
        raise Rejected(fallbacks.UNVERIFIABLE, str(error)) from None


def _apply(program: Program, answer: str, answer_format: AnswerFormat, nonce: str) -> Applied:
    tree = parse(program.code)
    lines = split_lines(program.code.removeprefix(BYTE_ORDER_MARK))
    claims = read_answer(answer, tree, lines, answer_format)
    placed = place(claims, tree, find_elifs(tree, lines))
    # With no claim left, every mark would come from the rules: that is the work of `ASTInstrumenter`, and counted as such.
    if not (placed.claims_kept or placed.claims_moved):
        reason = placed.dropped[0] if placed.dropped else "it claims nothing"
        raise Rejected(fallbacks.NOTHING_PROVED, f"nothing of the answer could be verified ({reason})")
    code, verdict = render(program.code, tree, lines, placed.insertions, nonce)
    if not verdict.ok:
        raise Rejected(fallbacks.NOT_VERIFIED, f"not verified: {verdict.reason}")
    instrumented = InstrumentedProgram(
        code, program, nonce, verdict.inserted, metrics=verdict.metrics, instrumenter="llm"
    )
    return Applied(instrumented, placed.claims_kept, placed.claims_moved, placed.added, placed.dropped)


def _cache(folder: str | None) -> AnswerCache:
    if folder == "none":
        return NoCache()
    return DiskCache(default_cache_dir() if folder is None else Path(folder).expanduser())


def _fall_back(plain: InstrumentedProgram, kind: str, reason: str) -> InstrumentedProgram:
    reasons = f"llm: {reason}" + (f"; ast: {plain.fallback_reason}" if plain.fallback_reason else "")
    return replace(plain, fallback_reason=reasons, fallback_kind=kind, instrumenter="llm")
