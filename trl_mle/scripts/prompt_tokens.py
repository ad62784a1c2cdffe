"""The tokenizer of `trl-mle tasks preview`: from a folder, or by its name on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trl_mle.errors import ConfigError
from trl_mle.scripts.checks import check_chat_template


def chat_tokenizer(name: str) -> Any:
    """The tokenizer `name`, which must have a chat template. A folder is read without the network.

    Raises:
        ConfigError: there is no such tokenizer, it cannot be reached, or it has no chat template.
    """
    from transformers import AutoTokenizer

    folder = Path(name).expanduser()
    is_folder = folder.is_dir()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder) if is_folder else name, local_files_only=is_folder)
    except Exception as error:  # which error it is depends on the file that is missing or damaged
        remedy = "Give a folder with tokenizer.json and tokenizer_config.json, or a name on the Hub"
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise ConfigError(f"tokenizer {name!r} (`--tokenizer`) cannot be loaded: {reason[0]} {remedy}.") from error
    check_chat_template(tokenizer, name)
    return tokenizer
