"""Settings of the stages: flat, frozen dataclasses, one file per stage or backend.

Every field states its unit and default. `__post_init__` rejects what cannot work; the error names value and fix. Fields that
recipes can set are listed in `KEYS` of their class: `trl_mle/scripts/arguments.py` builds YAML keys and flags from them, with the
field's type, default and docstring.
"""

from trl_mle.config.base import BackendConfig, Key, RunContext, usable_cores
from trl_mle.config.curriculum import CurriculumConfig
from trl_mle.config.e2b_cloud import E2BConfig
from trl_mle.config.episode import EpisodeBudget
from trl_mle.config.experience import ExperienceConfig
from trl_mle.config.instrumentation import InstrumentationConfig
from trl_mle.config.local import SandboxConfig
from trl_mle.config.pool import PoolConfig
from trl_mle.config.ray_cluster import RayConfig
from trl_mle.config.reward import RewardConfig

__all__ = [
    "BackendConfig",
    "CurriculumConfig",
    "E2BConfig",
    "EpisodeBudget",
    "ExperienceConfig",
    "InstrumentationConfig",
    "Key",
    "PoolConfig",
    "RayConfig",
    "RewardConfig",
    "RunContext",
    "SandboxConfig",
    "usable_cores",
]
