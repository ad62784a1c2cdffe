"""Runs on the Hugging Face Hub: their rollouts as a data set, their policy as a model, each with a card."""

from trl_mle.exports.hub.model import push_model
from trl_mle.exports.hub.rollouts import push_rollouts

__all__ = ["push_model", "push_rollouts"]
