"""Export: the experience of a store as a Parquet file, or as a data set of the Hugging Face Hub."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import StoreError, hub_client_errors
from trl_mle.experience.entries import row_of
from trl_mle.experience.schema import STORE_VERSION
from trl_mle.outcomes import Column, RunColumn, metric_column
from trl_mle.types import PROGRAM_METRICS

if TYPE_CHECKING:
    import pyarrow

EXPORT_FILE = "experience.parquet"
"""Name of an export in a folder, and in a data set of the Hub."""
VERSION_KEY = b"trl_mle_experience_version"
"""Key of `STORE_VERSION` in the metadata of the file."""

_CARD = """\
---
tags: [trl_mle, reinforcement-learning, machine-learning-engineering]
configs:
- config_name: default
  data_files: {file}
---

# Experience of a machine-learning engineering agent

{rows} outcomes: the program, what it printed and how it scored, written by `trl_mle`. `parent_id` is the `id` of the earlier
outcome that the prompt showed. `ExperienceStore.import_from("hub:{repo_id}")` reads it back.
"""


def write_parquet(pages: Iterable[Sequence[tuple]], path: Path) -> int:
    """Write rows of a store to `path`, whole or not at all, and return their number. A page is in memory at a time.

    Raises:
        StoreError: the file cannot be written, or an outcome is damaged.
    """
    from pyarrow import parquet

    draft = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    rows = 0
    try:
        with parquet.ParquetWriter(draft, _schema(), compression="zstd") as writer:
            for table in _tables(pages):
                writer.write_table(table)
                rows += len(table)
        draft.replace(path)
    except OSError as error:
        raise StoreError(
            f"The export {path} cannot be written: {error.strerror or error}. Give another path."
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return rows


def push(pages: Iterable[Sequence[tuple]], repo_id: str, *, private: bool, token: str | None) -> str:
    """Upload an export to the data set `repo_id`, and return its address.

    Raises:
        StoreError: the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        rows = write_parquet(pages, Path(folder) / EXPORT_FILE)
        (Path(folder) / "README.md").write_text(
            _CARD.format(file=EXPORT_FILE, rows=rows, repo_id=repo_id), encoding="utf-8"
        )
        try:
            address = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repo_id, repo_type="dataset", folder_path=folder, commit_message=f"{rows} outcomes of trl_mle"
            )
        except hub_client_errors() as error:
            raise StoreError(
                f"The experience could not be pushed to {repo_id!r}: {error}. Is it `user/name`, and has `hf auth login` "
                "stored a token that may write? `export` writes the same file to disk."
            ) from error
    return str(address)


def _schema() -> pyarrow.Schema:
    import pyarrow

    types = {int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_(), str: pyarrow.string()}
    fields = [("id", types[int])]
    fields += [(str(column), types.get(column.kind, pyarrow.list_(pyarrow.string()))) for column in Column]
    fields += [(metric_column(name), types[float]) for name in PROGRAM_METRICS]
    fields += [(str(RunColumn.PROMPT_KIND), types[str])]
    fields += [(name, types[int]) for name in (str(RunColumn.PARENT), str(RunColumn.STEP), "depth")]
    return pyarrow.schema(fields, metadata={VERSION_KEY: str(STORE_VERSION).encode()})


def _tables(pages: Iterable[Sequence[tuple]]) -> Iterator[pyarrow.Table]:
    import pyarrow

    schema = _schema()
    for page in pages:
        rows = []
        for id_, prompt_kind, parent_id, step, depth, content in page:
            own = {"id": id_, RunColumn.PROMPT_KIND: prompt_kind, RunColumn.PARENT: parent_id, RunColumn.STEP: step}
            rows.append({**row_of(content), **own, "depth": depth})
        columns = {name: [_plain(row.get(name)) for row in rows] for name in schema.names}
        try:
            table = pyarrow.table(columns, schema=schema)
        except (pyarrow.ArrowException, OverflowError) as error:
            raise StoreError(f"An outcome of the store is damaged: a value has the wrong type ({error}).") from error
        yield table


def _plain(value: Any) -> Any:
    """`value` with marks in place of lone surrogates, which Parquet cannot hold."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode("utf-8")
    return value
