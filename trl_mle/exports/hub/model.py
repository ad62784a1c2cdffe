"""A trained policy, whole or as an adapter, as a model of the Hub: its files, and a card that the Hub accepts."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from trl_mle.errors import ConfigError, hub_client_errors
from trl_mle.exports.hub.licences import check_licence
from trl_mle.exports.hub.redaction import redacted

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

ADAPTER = "adapter_config.json"
CARD = "README.md"
FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "processor_config.json",
    "preprocessor_config.json",
)
"""What `from_pretrained` reads. Rollouts, checkpoints, settings, private scores and `training_args.bin`, which holds paths and may
hold tokens, stay here."""
_EXAMPLE = re.compile(r"(model=\"|from_pretrained\(\"|--model )([^\"\s]+)")
_BASE = "base_model_name_or_path"
_REPO = re.compile(r"[\w.-]+/[\w.-]+")


def push_model(
    folder: Path,
    repo_id: str,
    *,
    private: bool = True,
    license: str | None = None,
    base_model: str | None = None,
    token: str | None = None,
) -> str:
    """Upload the policy in `folder` to the model `repo_id`, in one commit, and return its address.

    The model's files of an earlier push that this one does not have are removed. Other files of the repository stay.

    Args:
        folder (`Path`):
            The `output_dir` of a finished run, or one of its checkpoints.
        repo_id (`str`):
            `user/name`. The model is created if it does not exist.
        private (`bool`, *optional*, defaults to `True`):
            Whether a new model is private.
        license (`str`, *optional*):
            Licence in the header of the card, an identifier of the Hub: that of the base model.
        base_model (`str`, *optional*):
            Name of the base model on the Hub. An adapter that was trained on a folder of this machine needs it.
        token (`str`, *optional*):
            Access token. Defaults to the one that `hf auth login` stored.

    Raises:
        ConfigError: the folder holds no model or no card, an adapter's base model is a folder, or the Hub cannot be reached or
            refuses.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    files = _files(folder)
    changed = {CARD: str(model_card(folder, repo_id, license, base_model)).encode()}
    if ADAPTER in files:
        changed[ADAPTER] = _adapter(files[ADAPTER], base_model)
    api = HfApi(token=token)
    try:
        address = api.create_repo(repo_id, repo_type="model", private=private, exist_ok=True)
        there = [file.rfilename for file in api.model_info(repo_id).siblings or []]
        # Files of an earlier push: beside `adapter_config.json`, a whole model would be loaded as that adapter.
        stale = sorted(name for name in there if name not in files and _is_of_model(name))
        api.create_commit(
            repo_id,
            [
                *(CommitOperationAdd(name, content) for name, content in changed.items()),
                *(CommitOperationAdd(name, str(path)) for name, path in files.items() if name not in changed),
                *(CommitOperationDelete(name) for name in stale),
            ],
            repo_type="model",
            commit_message="Policy of trl_mle",
        )
    except hub_client_errors() as error:
        raise ConfigError(
            f"The model could not be pushed to {repo_id!r}: {error}. Is it `user/name`, and has `hf auth login` stored a token "
            "that may write?"
        ) from error
    return str(address)


def model_card(folder: Path, repo_id: str, licence: str | None = None, base_model: str | None = None) -> ModelCard:
    """The card of a run with licence and base model in its header, its model named `repo_id`, and no secret of this machine.

    Raises:
        ConfigError: there is no card, its header is damaged, or the licence is no identifier.
    """
    from huggingface_hub import ModelCard

    path = folder / CARD
    if not path.is_file():
        raise ConfigError(f"No {CARD} in {folder}. Give the `output_dir` of a run that has finished, or a checkpoint.")
    text = path.read_text(encoding="utf-8")
    text = _EXAMPLE.sub(lambda match: _renamed(match, folder.resolve(), repo_id), text)
    try:
        card = ModelCard(redacted(text))
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"The header of {path} cannot be read: {error}.") from error
    if licence is not None:
        check_licence(licence)
        card.data["license"] = licence
    if base_model is not None:
        card.data["base_model"] = base_model
    if card.data.get("eval_results"):
        card.data["model_name"] = repo_id.rpartition("/")[2]
    if (folder / ADAPTER).is_file():
        card.data["library_name"] = "peft"
    return card


def _renamed(match: re.Match[str], folder: Path, repo_id: str) -> str:
    """The example's name of the model: the folder of the run, as long as the model had no name on the Hub."""
    names = {folder.name, folder.parent.name} if folder.name.startswith("checkpoint-") else {folder.name}
    return f"{match[1]}{repo_id}" if Path(match[2]).name in names else match[0]


def _files(folder: Path) -> dict[str, Path]:
    """Name -> path of the files of the model, which lie in the folder itself."""
    found = {path.name: path for pattern in FILES for path in sorted(folder.glob(pattern)) if path.is_file()}
    if not any(name.endswith(".safetensors") for name in found) or not {"config.json", ADAPTER} & set(found):
        raise ConfigError(
            f"{folder} holds no model. Give the `output_dir` of a run that has finished, or a checkpoint."
        )
    return found


def _is_of_model(name: str) -> bool:
    """Whether a file of the repository is one that `from_pretrained` reads."""
    return "/" not in name and any(fnmatchcase(name, pattern) for pattern in FILES)


def _adapter(path: Path, base_model: str | None) -> bytes:
    """The settings of an adapter with a base model that others can load."""
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    base = base_model or str(settings.get(_BASE))
    if not _REPO.fullmatch(base) or Path(base).exists():
        raise ConfigError(
            f"The adapter in {path.parent} belongs to {base!r}, which nobody else can load. Name its base model on the Hub by "
            "`--base-model user/name`."
        )
    return json.dumps({**settings, _BASE: base}, indent=2).encode()
