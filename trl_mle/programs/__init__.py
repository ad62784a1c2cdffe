"""Completion -> `Program`, or a named reason why not."""

from trl_mle.programs.extract import REASONS, extract_program

__all__ = ["REASONS", "extract_program"]
