"""From a completion to a `Program`, or a named reason why there is none."""

from trl_mle.programs.argument import program_of_argument
from trl_mle.programs.extract import REASONS, extract_program

__all__ = ["REASONS", "extract_program", "program_of_argument"]
