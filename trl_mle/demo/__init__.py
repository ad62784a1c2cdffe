"""Demonstrations for the demo policy: a small generator of plausible solutions with plausible mistakes."""

from trl_mle.demo.bugs import BUGS
from trl_mle.demo.families import FAMILIES
from trl_mle.demo.features import TREATMENTS
from trl_mle.demo.generate import generate_completion, generate_demonstrations
from trl_mle.demo.programs import build_completion, combinations

__all__ = [
    "BUGS",
    "FAMILIES",
    "TREATMENTS",
    "build_completion",
    "combinations",
    "generate_completion",
    "generate_demonstrations",
]
