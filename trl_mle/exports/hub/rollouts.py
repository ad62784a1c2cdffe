"""The rollouts of a run as a data set of the Hub. Private scores stay here unless they are asked for."""

from __future__ import annotations

import json
import logging
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import ConfigError, hub_client_errors
from trl_mle.exports.hub.licences import check_licence
from trl_mle.exports.hub.redaction import Redactor
from trl_mle.exports.hub.rollout_card import RolloutFacts, rollout_card

if TYPE_CHECKING:
    import pyarrow

logger = logging.getLogger(__name__)

FOLDER = "rollouts"
_NAME = re.compile(r"\w+?_\d+_\d+")
"""Name of a file of rollouts without its suffix: mode or kind, step and number."""
PRIVATE = "private_"
"""What stands in the names of columns that hold what only the private answers tell."""
TURNS = "turns"
"""Column of agents' rollouts: JSON of the turns, in which scores stand, too."""


def push_rollouts(
    run_dir: Path,
    repo_id: str,
    *,
    private: bool = True,
    private_scores: bool = False,
    license: str = "other",
    token: str | None = None,
) -> str:
    """Upload the rollouts of a run to the data set `repo_id`, in one commit, and return its address.

    `read_rollouts("hub:user/name")` reads them back. Texts are uploaded without secrets of this machine and without the path of
    the home folder. Files that cannot be read are left out.

    Args:
        run_dir (`Path`):
            The `output_dir` of a run.
        repo_id (`str`):
            `user/name`. The data set is created if it does not exist.
        private (`bool`, *optional*, defaults to `True`):
            Whether a new data set is private: programs and their output may quote the tasks' data.
        private_scores (`bool`, *optional*, defaults to `False`):
            Whether scores on the private part of the answers are uploaded. Who trains on them is no longer measured by them.
        license (`str`, *optional*, defaults to `"other"`):
            Licence of the data set, an identifier of the Hub.
        token (`str`, *optional*):
            Access token. Defaults to the one that `hf auth login` stored.

    Raises:
        ConfigError: the run has no rollouts, the licence is no identifier, or the Hub cannot be reached or refuses.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    check_licence(license)
    with tempfile.TemporaryDirectory() as temporary:
        files, facts = _prepare(run_dir, Path(temporary), private_scores)
        card = rollout_card(repo_id, facts, license)
        api = HfApi(token=token)
        try:
            address = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
            there = {file.rfilename for file in api.dataset_info(repo_id).siblings or []}
            # Files of an earlier push: two runs in one data set would be read as one.
            stale = [name for name in there if name.startswith(f"{FOLDER}/") and name not in files]
            api.create_commit(
                repo_id,
                [
                    CommitOperationAdd("README.md", str(card).encode()),
                    *(CommitOperationAdd(name, str(path)) for name, path in files.items()),
                    *(CommitOperationDelete(name) for name in sorted(stale)),
                ],
                repo_type="dataset",
                commit_message=f"{facts.rows} rollouts of trl_mle",
            )
        except hub_client_errors() as error:
            raise ConfigError(
                f"The rollouts could not be pushed to {repo_id!r}: {error}. Is it `user/name`, and has `hf auth login` stored a "
                "token that may write?"
            ) from error
    return str(address)


def _prepare(run_dir: Path, target: Path, private_scores: bool) -> tuple[dict[str, Path], RolloutFacts]:
    """Write the files to upload into `target`: path in the data set -> path here, and what the card says of them."""
    from pyarrow import parquet

    # Whatever else a user keeps in the folder stays here.
    found = sorted(path for path in (run_dir / FOLDER).glob("*.parquet") if _NAME.fullmatch(path.stem))
    if not found:
        raise ConfigError(f"No rollouts in {run_dir / FOLDER}. Give the `output_dir` of a run that has trained.")
    files: dict[str, Path] = {}
    facts = RolloutFacts(private_scores=private_scores)
    redactor = Redactor()
    for path in found:
        try:
            table = parquet.read_table(path, partitioning=None)
        except Exception:  # damaged
            logger.warning("%s cannot be read and is left out.", path)
            continue
        table = _public(table, private_scores, redactor)
        parquet.write_table(table, target / path.name, compression="zstd")
        files[f"{FOLDER}/{path.name}"] = target / path.name
        facts.count(path.name.partition("_")[0], table)
    if not files:
        raise ConfigError(f"None of the {len(found)} files in {run_dir / FOLDER} can be read.")
    return files, facts


def _public(table: pyarrow.Table, private_scores: bool, redactor: Redactor) -> pyarrow.Table:
    """`table` without private scores, unless they are wanted, and with redacted texts."""
    import pyarrow

    if not private_scores:
        table = table.drop_columns([name for name in table.column_names if PRIVATE in name])
    for place, field in enumerate(table.schema):
        if _holds_text(field.type):
            values = table.column(place).to_pylist()
            if field.name == TURNS:
                changed = [turns and _public_turns(turns, private_scores, redactor) for turns in values]
            else:
                changed = redactor.values(values)
            table = table.set_column(place, field, pyarrow.array(changed, field.type))
    return table


def _holds_text(type_: pyarrow.DataType) -> bool:
    """Whether values of the type may hold texts, inside lists and messages, too."""
    import pyarrow

    types = pyarrow.types
    return (
        types.is_string(type_) or types.is_large_string(type_) or types.is_dictionary(type_) or types.is_nested(type_)
    )


def _public_turns(turns: str, private_scores: bool, redactor: Redactor) -> str:
    """Turns with redacted texts. What is no JSON is left out, since nobody knows what is in it."""
    try:
        content = json.loads(turns)
        return json.dumps(redactor.values(content if private_scores else _stripped(content)))
    except (ValueError, RecursionError):
        return "[]"


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stripped(item) for key, item in value.items() if PRIVATE not in key}
    return [_stripped(item) for item in value] if isinstance(value, list) else value
