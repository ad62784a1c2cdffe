"""An error of one process is raised on all of them, so that none waits in a collective for one that has stopped."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import gather_object
from trl import GRPOTrainer
from trl.trainer.utils import is_async_callable

from trl_mle.errors import ProcessError


def raise_together(error: Exception | None) -> None:
    """Raise on every process if any of them has an error; to be called by all processes.

    Raises:
        Exception: `error`, if there is one.
        ProcessError: another process has an error.
    """
    reports = gather_object([None if error is None else f"{type(error).__name__}: {error}"])
    if error is not None:
        raise error
    for process, message in enumerate(reports):
        if message is not None:
            raise ProcessError(f"Process {process} stopped. {message}")


@contextmanager
def raised_on_all() -> Iterator[None]:
    """Raise an error of the body on every process; to be entered by all processes. They leave it together.

    Raises:
        Exception: the error of this process's body.
        ProcessError: another process has an error.
    """
    error = None
    try:
        yield
    except Exception as raised:
        error = raised
    raise_together(error)


@contextmanager
def errors_reach_all(trainer: GRPOTrainer) -> Iterator[None]:
    """Hold back an error of a reward function within the body until all processes have finished it, then raise it on all.

    `GRPOTrainer._calculate_rewards` ends in a collective, in which the other processes would wait for the one that
    failed. Reward models (`torch.nn.Module`) are not guarded.
    """
    # With one process nothing can wait, and the error keeps its traceback.
    if trainer.accelerator.num_processes == 1:
        yield
        return
    reward_funcs: list[Any] = trainer.reward_funcs
    errors: list[Exception] = []
    names = trainer.reward_func_names
    trainer.reward_funcs = [_guarded(func, name, errors) for func, name in zip(reward_funcs, names, strict=True)]
    try:
        yield
    finally:
        trainer.reward_funcs = reward_funcs
    raise_together(errors[0] if errors else None)


def _guarded(reward_func: Callable, name: str, errors: list[Exception]) -> Callable:
    """`reward_func`, except that it appends its error to `errors` and then returns `None` for every completion."""
    # TRL recognises reward models by their class.
    if isinstance(reward_func, torch.nn.Module):
        return reward_func

    if is_async_callable(reward_func):

        async def guarded_async(**kwargs: Any) -> list[float | None]:
            try:
                return checked_rewards(await reward_func(**kwargs), len(kwargs["prompts"]), name)
            except Exception as error:
                errors.append(error)
                return [None] * len(kwargs["prompts"])

        return guarded_async

    @functools.wraps(reward_func, updated=())
    def guarded(**kwargs: Any) -> list[float | None]:
        try:
            return checked_rewards(reward_func(**kwargs), len(kwargs["prompts"]), name)
        except Exception as error:
            errors.append(error)
            return [None] * len(kwargs["prompts"])

    return guarded


def checked_rewards(rewards: Any, rows: int, name: str) -> list[float | None]:
    """`rewards` as a list of `rows` numbers or `None`.

    Raises:
        ValueError: a wrong number of rewards, with TRL's own message.
        TypeError: a reward that is no number.
    """
    numbers = [None if reward is None or math.isnan(reward) else float(reward) for reward in rewards]
    if len(numbers) != rows:
        raise ValueError(
            f"The reward function '{name}' returned {len(numbers)} rewards, but {rows} were expected (one per "
            "prompt-completion pair). Make sure the reward function returns exactly one reward per completion."
        )
    return numbers
