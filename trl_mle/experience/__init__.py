"""The experience store: every outcome of a run on disk, and the choice of the earlier program that a prompt shows."""

from trl_mle.experience.importing import STORE_FILE
from trl_mle.experience.records import Experience
from trl_mle.experience.selection import STRATEGIES
from trl_mle.experience.store import ExperienceStore

__all__ = ["STORE_FILE", "STRATEGIES", "Experience", "ExperienceStore"]
