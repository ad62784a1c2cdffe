"""`GuardedStore`: an experience store whose faults cost self-improvement, but not the run."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from trl_mle.errors import ConfigError
from trl_mle.experience import ExperienceStore

logger = logging.getLogger(__name__)

FAULTS = (ConfigError, sqlite3.Error, OSError)
"""A `StoreError` is a `ConfigError`; so is the refusal of a row, such as one whose parent is not in the store."""
PATIENCE = 3
"""Faults in a row after which the store is left alone for the rest of the run: each may have waited for a lock."""

Result = TypeVar("Result")


class GuardedStore:
    """Calls an [`ExperienceStore`], and answers with a stand-in if that fails.

    A disk that is full, or a file that was damaged, must not end a training of days: its prompts are from scratch from then on,
    and its rollouts are on disk. Every fault is logged as an error and counted.

    Args:
        store ([`ExperienceStore`]):
            The run's store.
    """

    def __init__(self, store: ExperienceStore):
        self.store = store
        self.faults = 0
        """Faults in this run."""
        self._in_a_row = 0

    @property
    def is_given_up(self) -> bool:
        """Whether the store is left alone."""
        return self._in_a_row >= PATIENCE

    def try_to(self, action: str, call: Callable[[ExperienceStore], Result], otherwise: Result) -> Result:
        """The result of `call`, or `otherwise` if the store fails or is given up. `action` completes "could not ..."."""
        if self.is_given_up:
            return otherwise
        try:
            result = call(self.store)
        except FAULTS as error:
            self.faults += 1
            self._in_a_row += 1
            logger.error(
                "The experience store could not %s: %s: %s.%s",
                action,
                type(error).__name__,
                error,
                " It is left alone from now on: all prompts are from scratch." if self.is_given_up else "",
            )
            return otherwise
        self._in_a_row = 0
        return result
