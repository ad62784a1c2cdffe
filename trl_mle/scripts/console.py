"""What a script shows: its own progress, results and errors, without the notices of other libraries that a user cannot act on."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from trl_mle.errors import UserError


def prepare_console() -> None:
    """Set up logging and silence notices that no user can act on. To be called before transformers and torch are imported."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # tokenizers warns of a fork after its threads have started; workers of the sandbox are forked.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # transformers 5.24 warns of an attribute that TRL 1.16 reads on every checkpoint.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    # TRL 1.16 warns of a part of its interface that `trl-mle` is made for.
    warnings.filterwarnings("ignore", message="You are using 'environment_factory'", category=UserWarning)
    # The YAML files use the name that all supported versions of transformers know; from 5.23 on it is deprecated.
    warnings.filterwarnings("ignore", message="`gradient_checkpointing` is deprecated", category=FutureWarning)


def let_threads_wait() -> None:
    """Let idle OpenMP threads sleep instead of spin, which makes a step ten times slower on a busy machine.

    To be called before torch is imported, which reads the setting when it is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def hide_bars() -> None:
    """Hide the bars of `datasets` and of transformers' loading and saving. Bars of downloads stay."""
    import datasets
    import huggingface_hub.utils
    import transformers.utils.logging

    downloads_are_hidden = huggingface_hub.utils.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # SFTTrainer would draw one per step of its preparation
    transformers.utils.logging.disable_progress_bar()
    if not downloads_are_hidden:
        huggingface_hub.utils.enable_progress_bars()  # transformers has hidden these, too


class AfterTraining:
    """The steps after training, each of which may fail: the model is saved, and whatever follows must still happen."""

    def __init__(self) -> None:
        self.exit_code = 0
        """1 if a step has failed."""

    @contextmanager
    def step(self, what: str, remedy: str) -> Iterator[None]:
        """Report an exception of the block on stderr and go on.

        Args:
            what (`str`):
                Name of the step, which begins the message.
            remedy (`str`):
                Sentence that says what the user can do.
        """
        try:
            yield
        except Exception as error:
            self.exit_code = 1
            if not isinstance(error, UserError):  # whose message names value and fix
                traceback.print_exc()
            sys.stderr.write(f"error: {what} failed: {str(error).rstrip('.')}. {remedy}\n")
