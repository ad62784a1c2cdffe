"""The version of Python that programs run on, against the one that prompts state."""

from __future__ import annotations

import logging
import sys

STATED = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Version that prompts state: that of the process that builds them."""


def warn_of_version(logger: logging.Logger, version: str, where: str, fix: str) -> None:
    """Warn if programs run on another Python than the one that prompts state.

    Args:
        logger: gets the warning.
        version: version of the programs' interpreter, such as `3.12.4`. An empty one is not known.
        where: what runs the programs, as the beginning of a sentence.
        fix: what to do, in a sentence.
    """
    if version and version.split(".")[:2] != STATED.split("."):
        logger.warning(
            "%s has Python %s, but prompts state Python %s, that of this process: the policy learns to write for a version that "
            "its programs do not run on. %s",
            where,
            version,
            STATED,
            fix,
        )
