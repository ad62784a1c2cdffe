"""The card of a data set of rollouts: what a row is, where it comes from, how to read it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trl_mle._version import __version__
from trl_mle.exports.hub.redaction import redacted
from trl_mle.outcomes import Column, RunColumn

if TYPE_CHECKING:
    import pyarrow
    from huggingface_hub import DatasetCard

_CONTENT = """\
---
{data}
---

# Rollouts of a machine-learning engineering agent

{rows} programs that a language model wrote while it was trained, each with what became of it, in {files} files of Parquet, one
per generation batch. Written by `trl_mle` {version}, after [Reinforcement Learning for Machine Learning Engineering
Agents](https://arxiv.org/abs/2509.01684).

```python
from trl_mle.evaluation import read_rollouts

rollouts = read_rollouts("hub:{repo_id}")  # a pandas.DataFrame, in the order of the run
```

`datasets.load_dataset("{repo_id}")` reads the same files.

## Content

| outcome | rollouts |
|---|---|
{kinds}

| task | rollouts |
|---|---|
{tasks}

{private}

| column | type | unit |
|---|---|---|
{columns}

Columns with other names are those of TRL (`prompt`, `completion`, `advantage`) and of the reward functions.

## Limits

- Programs were written by a model and are **not safe to run** outside a sandbox. Some of them may try to break out of one.
- Programs and their output may quote the data of the tasks. The licences of these data sets hold for such quotations.
- Durations are those of one machine.
- Scores and milestones are those of the graders and instrumenters of the version above.

## Citation

```bibtex
@inproceedings{{yang2026reinforcement,
    title     = {{{{Reinforcement Learning for Machine Learning Engineering Agents}}}},
    author    = {{Sherry Yang and Joy He-Yueya and Percy Liang}},
    year      = 2026,
    booktitle = {{International Conference on Learning Representations}},
    eprint    = {{arXiv:2509.01684}},
}}
```
"""

SPLITS = {"train": "train", "eval": "test", "lost": "lost"}
"""Kind of a file of rollouts -> split of the data set."""


@dataclass
class RolloutFacts:
    """What the card says of the files."""

    private_scores: bool
    rows: int = 0
    files: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    splits: dict[str, None] = field(default_factory=dict)
    """Kinds of files that there are, in order."""
    columns: dict[str, None] = field(default_factory=dict)

    def count(self, kind: str, table: pyarrow.Table) -> None:
        """Add a file of rollouts of this kind."""
        self.rows += len(table)
        self.files += 1
        self.splits[kind] = None
        self.columns.update(dict.fromkeys(table.column_names))
        for column, counter in ((Column.KIND, self.kinds), (Column.TASK_ID, self.tasks)):
            values = table.column(str(column)).to_pylist() if str(column) in table.column_names else []
            counter.update(str(value) for value in values if value is not None)


def rollout_card(repo_id: str, facts: RolloutFacts, licence: str) -> DatasetCard:
    """The card, valid for the Hub, without secrets of this machine."""
    from huggingface_hub import DatasetCard, DatasetCardData

    data = DatasetCardData(
        license=licence,
        pretty_name="Rollouts of a machine-learning engineering agent",
        task_categories=["reinforcement-learning", "text-generation"],
        tags=["trl_mle", "reinforcement-learning", "machine-learning-engineering", "code"],
        size_categories=[_size(facts.rows)],
        configs=[{"config_name": "default", "data_files": [_split(kind) for kind in facts.splits]}],
    )
    content = _CONTENT.format(
        data=data.to_yaml(),
        rows=f"{facts.rows:,}",
        files=facts.files,
        version=__version__,
        repo_id=repo_id,
        kinds=_rows(facts.kinds),
        tasks=_rows(facts.tasks),
        private="Scores on the private part of the answers are in it: do not train on them."
        if facts.private_scores
        else "Scores on the private part of the answers are not in it.",
        columns="\n".join(_columns(facts)),
    )
    return DatasetCard(redacted(content))


def _split(kind: str) -> dict[str, Any]:
    return {"split": SPLITS.get(kind, kind), "path": f"rollouts/{kind}_*.parquet"}


def _rows(counter: Counter[str]) -> str:
    """Rows of a table of Markdown, the most frequent first."""
    return "\n".join(f"| {cell(name)} | {count:,} |" for name, count in counter.most_common(200))


def _columns(facts: RolloutFacts) -> list[str]:
    known = [column for column in Column if str(column) in facts.columns]
    lines = [f"| `{column}` | {column.kind.__name__} | {column.unit} |" for column in known]
    return lines + [f"| `{column}` | | |" for column in RunColumn if str(column) in facts.columns]


def cell(text: str) -> str:
    """Text as code in a cell of a table of Markdown, in which nothing of it is markup."""
    plain = " ".join(text.split())[:200].replace("`", "'").replace("|", "/")
    return f"`{plain}`"


def _size(rows: int) -> str:
    """Size of a data set in the words of the Hub."""
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for bound, name in bounds if rows < bound), "1M<n<10M")
