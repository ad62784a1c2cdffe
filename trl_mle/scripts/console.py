"""What a script shows: its own progress, results and errors, without the notices of other libraries that a user cannot act on."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def prepare_console() -> None:
    """Set up logging and silence notices that no user can act on. To be called before transformers and torch are imported."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # tokenizers warns of a fork after its threads have started; workers of the sandbox are forked.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # transformers 5.24 warns of an attribute that TRL 1.16 reads on every checkpoint.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    # The YAML files use the name that all supported versions of transformers know; from 5.23 on it is deprecated.
    warnings.filterwarnings("ignore", message="`gradient_checkpointing` is deprecated", category=FutureWarning)


def hide_bars() -> None:
    """Hide the bars of `datasets` and of transformers' loading and saving. Bars of downloads stay."""
    import datasets
    import huggingface_hub.utils
    import transformers.utils.logging

    datasets.disable_progress_bars()  # SFTTrainer would draw one per step of its preparation
    transformers.utils.logging.disable_progress_bar()
    huggingface_hub.utils.enable_progress_bars()  # transformers has hidden these, too


@contextmanager
def after_training(what: str, remedy: str) -> Iterator[None]:
    """Report an exception of the block on stderr and go on: the model is saved, and whatever follows must still happen."""
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        sys.stderr.write(f"error: {what} failed: {error}. {remedy}\n")
