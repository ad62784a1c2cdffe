"""What the groups of a training batch are asked: which kind of prompt, and which earlier solution it shows."""

from trl_mle.curriculum.experience_prompts import ExperiencePrompts

__all__ = ["ExperiencePrompts"]
