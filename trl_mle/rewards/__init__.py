"""Completion -> `Outcome` (`ProgramScorer`), outcome -> scalar (`shaping`, pure), and the TRL reward function (`MLEReward`)."""

from trl_mle.rewards.mle_reward import MLEReward
from trl_mle.rewards.scorer import ProgramScorer

__all__ = ["MLEReward", "ProgramScorer"]
