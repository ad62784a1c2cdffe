"""The corpus of `data/corpus/`: programs, where they come from, and what they reach by a person's judgement.

Run with an instrumenter, it shows whether marks change what a program does and how well they agree with the labels.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import yaml

from trl_mle import load_task
from trl_mle.instrumentation import Instrumenter, new_nonce, parse_metrics, parse_milestones, strip_marks
from trl_mle.sandboxes.base import Sandbox
from trl_mle.types import MILESTONES, Execution, Limits, Program, TaskSpec

DATA = Path(__file__).parents[1] / "data"
LETTERS = dict(zip("ILFDTEW", MILESTONES, strict=True))
WINE = "wine"
"""A small task that exists only here: `sklearn.datasets.load_wine`, with torch allowed."""
Part = Literal["development", "held-out"]


@dataclass(frozen=True)
class Entry:
    """One program of the corpus."""

    id: str
    source: str
    """`qwen`, `demo`, `solutions`, `hand` or `tests`."""
    task: str
    code: str
    reached: tuple[str, ...] | None = None
    """The milestones that it reaches when it runs as it is, by hand; `None` where nobody has judged it."""

    @property
    def part(self) -> Part:
        """Whether the instrumenter may be improved on this program. What its own tests show is known to it."""
        digest = hashlib.sha256(self.id.encode()).digest()
        return "held-out" if self.source != "tests" and digest[0] % 2 else "development"


@dataclass(frozen=True)
class Comparison:
    """A program run as it is and instrumented."""

    entry: Entry
    inserted: tuple[str, ...]
    marked: tuple[str, ...]
    """Milestones whose marks were seen."""
    fallback_reason: str | None
    marks: int
    """Marks printed."""
    plain: Execution
    instrumented: Execution
    """Its stdout is without marks."""
    steady: dict[str, bool]
    """Whether two plain runs agree, by what is compared."""
    fallback_kind: str | None = None
    metrics: tuple[str, ...] = ()
    """Named metrics that the instrumented program reports."""
    values: tuple[tuple[str, float], ...] = ()
    """What it reported."""

    @property
    def same(self) -> dict[str, bool]:
        """Whether the instrumented run agrees with the plain one, by what is compared."""
        return _agreement(self.plain, self.instrumented)

    @property
    def changed(self) -> list[str]:
        """What instrumentation changed: it differs although two plain runs agree."""
        return [name for name, same in self.same.items() if self.steady[name] and not same]


@dataclass(frozen=True)
class Score:
    """Marks against labels for one milestone, in numbers of programs."""

    reached: int
    marked: int
    both: int

    @property
    def precision(self) -> float | None:
        """Share of the marked programs that reached the milestone."""
        return self.both / self.marked if self.marked else None

    @property
    def recall(self) -> float | None:
        """Share of the programs that reached the milestone that are marked."""
        return self.both / self.reached if self.reached else None


def load_corpus() -> list[Entry]:
    """All programs, each source in the order of its file."""
    labels = yaml.safe_load((DATA / "corpus" / "labels.yaml").read_text(encoding="utf-8"))
    entries = []
    for source in ("qwen", "demo", "solutions"):
        for line in (DATA / "corpus" / f"{source}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            entries.append(Entry(row["id"], source, row["task"], row["code"]))
    for path in sorted((DATA / "corpus" / "hand").glob("*.py")):
        task = path.stem.partition("_")[0]
        name = task if task == WINE else f"builtin:{task}"
        entries.append(Entry(f"hand-{path.stem}", "hand", name, path.read_text(encoding="utf-8")))
    known = yaml.safe_load((DATA / "programs" / "labels.yaml").read_text(encoding="utf-8"))
    for path in sorted((DATA / "programs").glob("*.py")):
        labels[f"tests-{path.stem}"] = known[path.stem]
        entries.append(Entry(f"tests-{path.stem}", "tests", WINE, path.read_text(encoding="utf-8")))
    unknown = set(labels) - {entry.id for entry in entries}
    if unknown:
        raise ValueError(f"labels without a program: {sorted(unknown)}")
    return [replace(entry, reached=_reached(labels.get(entry.id))) for entry in entries]


def _reached(letters: str | None) -> tuple[str, ...] | None:
    """Milestones of a label such as `ILF`; a miss that is known (in parentheses) was reached all the same."""
    if letters is None:
        return None
    return tuple(LETTERS[letter] for letter in re.sub(r"[()-]", "", letters))


def task_of(entry: Entry, folder: Path) -> TaskSpec:
    """The task of a program; the wine task is made in `folder` on first use."""
    if entry.task != WINE:
        return load_task(entry.task)
    public = folder / WINE / "public"
    if not public.exists():
        from sklearn.datasets import load_wine

        public.mkdir(parents=True)
        frame = load_wine(as_frame=True).frame.sample(frac=1, random_state=0).reset_index(drop=True)
        frame.insert(0, "id", range(len(frame)))
        frame[:130].to_csv(public / "train.csv", index=False)
        frame[130:].drop(columns="target").to_csv(public / "test.csv", index=False)
        frame[130:][["id"]].assign(target=0).to_csv(public / "sample_submission.csv", index=False)
    return TaskSpec(
        id=WINE,
        title="Wines",
        description="",
        folder=folder / WINE,
        metric="accuracy",
        direction="maximize",
        id_column="id",
        prediction_columns=("target",),
        target_column="target",
        packages=("numpy", "pandas", "scikit-learn", "scipy", "torch"),
    )


async def compare(entry: Entry, instrumenter: Instrumenter, sandbox: Sandbox, folder: Path) -> Comparison:
    """Run a program as it is and instrumented; a second time as it is where these two differ."""
    task = task_of(entry, folder)
    limits = Limits.for_task(task)
    result = instrumenter.instrument(Program("", entry.code), new_nonce())
    instrumented = await result if inspect.isawaitable(result) else result
    plain = await sandbox.run(entry.code, task, limits)
    execution = await sandbox.run(instrumented.code, task, limits)
    seen = parse_milestones(execution.stdout, instrumented.nonce)
    bare = replace(execution, stdout=strip_marks(execution.stdout, instrumented.nonce))
    same = _agreement(plain, bare)
    steady = dict.fromkeys(same, True)
    if not all(same.values()):
        steady = _agreement(plain, await sandbox.run(entry.code, task, limits))
    return Comparison(
        entry=entry,
        inserted=instrumented.inserted,
        marked=tuple(name for name in seen if name in instrumented.inserted),
        fallback_reason=instrumented.fallback_reason,
        marks=execution.stdout.count("[[trl_mle:"),
        plain=plain,
        instrumented=bare,
        steady=steady,
        fallback_kind=instrumented.fallback_kind,
        metrics=instrumented.metrics,
        values=tuple(
            pair for pair in parse_metrics(execution.stdout, instrumented.nonce) if pair[0] in instrumented.metrics
        ),
    )


def _agreement(one: Execution, other: Execution) -> dict[str, bool]:
    return {
        "exit": (one.status, one.exit_code) == (other.status, other.exit_code),
        "submission": one.submission == other.submission,
        "stdout": one.stdout == other.stdout,
    }


def scores(comparisons: Iterable[Comparison]) -> dict[str, Score]:
    """Marks against labels, by milestone; programs without a label are left out."""
    reached: Counter[str] = Counter()
    marked: Counter[str] = Counter()
    both: Counter[str] = Counter()
    for comparison in comparisons:
        if comparison.entry.reached is not None:
            reached.update(comparison.entry.reached)
            marked.update(comparison.marked)
            both.update(set(comparison.entry.reached) & set(comparison.marked))
    return {name: Score(reached[name], marked[name], both[name]) for name in MILESTONES}


def disagreements(comparison: Comparison) -> list[tuple[str, str]]:
    """(milestone, `missed` or `false`) for every difference between marks and label."""
    if comparison.entry.reached is None:
        return []
    differing = set(comparison.entry.reached) ^ set(comparison.marked)
    return [
        (name, "missed" if name in comparison.entry.reached else "false") for name in MILESTONES if name in differing
    ]
