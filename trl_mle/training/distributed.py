"""One process's error reaches all processes of a run, so that none waits in a collective for one that has stopped."""

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
    """Raise on every process if any of them has an error; to be called by all of them.

    Raises:
        Exception: `error` itself, where there is one.
        ProcessError: another process has one.
    """
    reports = gather_object([None if error is None else f"{type(error).__name__}: {error}"])
    if error is not None:
        raise error
    for process, words in enumerate(reports):
        if words is not None:
            raise ProcessError(f"Process {process} stopped. {words}")


@contextmanager
def errors_reach_all(trainer: GRPOTrainer) -> Iterator[None]:
    """Within it, an error in a reward function is kept until all processes are through, and is then raised on all.

    `GRPOTrainer._calculate_rewards` ends in a collective, in which the other processes would wait for the one that
    failed. Reward models (`torch.nn.Module`) are left alone.
    """
    if trainer.accelerator.num_processes == 1:
        yield
        return
    own: list[Any] = trainer.reward_funcs
    errors: list[Exception] = []
    names = trainer.reward_func_names
    trainer.reward_funcs = [_guarded(func, name, errors) for func, name in zip(own, names, strict=True)]
    try:
        yield
    finally:
        trainer.reward_funcs = own
    raise_together(errors[0] if errors else None)


def _guarded(reward_func: Callable, name: str, errors: list[Exception]) -> Callable:
    """`reward_func` that keeps its error in `errors` and returns `None` for every completion instead."""
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
    """`rewards` as `rows` numbers or `None`.

    Raises:
        ValueError: a wrong number of them, in the words of TRL.
        TypeError: something that is no number.
    """
    numbers = [None if reward is None or math.isnan(reward) else float(reward) for reward in rewards]
    if len(numbers) != rows:
        raise ValueError(
            f"The reward function '{name}' returned {len(numbers)} rewards, but {rows} were expected (one per "
            "prompt-completion pair). Make sure the reward function returns exactly one reward per completion."
        )
    return numbers
