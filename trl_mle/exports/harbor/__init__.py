"""Tasks in the format of Harbor, which TRL, verifiers, SkyRL, rLLM, NeMo Gym and tinker-cookbook load."""

from trl_mle.exports.harbor.export import export_harbor

__all__ = ["export_harbor"]
