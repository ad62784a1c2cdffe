"""Reinforcement learning for machine-learning engineering agents, as a TRL extension."""
