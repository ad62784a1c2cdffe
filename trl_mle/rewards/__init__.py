"""Outcome -> scalar (`shaping`, pure) and the TRL reward function (`MLEReward`)."""

from trl_mle.rewards.mle_reward import MLEReward

__all__ = ["MLEReward"]
