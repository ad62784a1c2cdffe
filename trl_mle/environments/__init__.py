"""A task as an environment for agents: run a program, look at what it did, revise it, submit."""

from trl_mle.config import EpisodeBudget
from trl_mle.environments.environment import MLEEnvironment
from trl_mle.environments.episode import Episode, Turn
from trl_mle.environments.episode_reward import EpisodeReward
from trl_mle.environments.records import read_turns
from trl_mle.environments.spec import MLESpec

__all__ = ["Episode", "EpisodeBudget", "EpisodeReward", "MLEEnvironment", "MLESpec", "Turn", "read_turns"]
