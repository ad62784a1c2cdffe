"""Instrumentation by a frozen language model: the model proposes, the program verifies."""

from trl_mle.instrumentation.llm.instrumenter import LLMInstrumenter

__all__ = ["LLMInstrumenter"]
