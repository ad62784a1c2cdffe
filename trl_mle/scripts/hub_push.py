"""The policy of a script, saved and pushed: a push that fails costs neither the model nor what follows it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trl_mle.errors import ConfigError, UserError, hub_client_errors
from trl_mle.scripts.console import AfterTraining


@contextmanager
def repository_errors(training_args: Any) -> Iterator[None]:
    """Raise errors of the Hub as `ConfigError`, while a trainer is made: with `push_to_hub` it opens the repository.

    Raises:
        ConfigError: the repository cannot be opened.
    """
    # Files that are missing on this machine are another matter.
    errors = tuple(kind for kind in hub_client_errors() if kind is not OSError) if training_args.push_to_hub else ()
    try:
        yield
    except errors as error:
        raise ConfigError(
            f"`push_to_hub` is true, but the repository {training_args.hub_model_id or training_args.output_dir!r} cannot be "
            f"opened: {error}. Log in by `hf auth login`, name one by `hub_model_id`, or leave `push_to_hub` out and push "
            "afterwards by `trl-mle push model`."
        ) from error


def save_policy(trainer: Any) -> None:
    """Save the policy in `output_dir`, without the push that `Trainer.save_model` adds. To be called by all processes."""
    trainer.save_model(trainer.args.output_dir, _internal_call=True)


def push_policy(trainer: Any, after: AfterTraining) -> None:
    """Push `output_dir` if `push_to_hub` is set; a failure is reported. To be called by all processes.

    A policy that has collapsed is not pushed: it would replace that of an earlier checkpoint, which may work.
    """
    if not trainer.args.push_to_hub:
        return
    reason = getattr(trainer, "stopped_for", None)
    if reason is not None and not trainer.args.load_best_model_at_end:
        if trainer.args.process_index == 0:
            sys.stderr.write(
                f"The policy is not pushed to the Hub, because it has collapsed: {reason}. `trl-mle push model` pushes a "
                "checkpoint.\n"
            )
        return
    with after.step("The push to the hub", f"The model is in {trainer.args.output_dir}; push it from there."):
        try:
            trainer.push_to_hub()
        except hub_client_errors() as error:
            raise UserError(str(error)) from error
