"""The mistakes in demonstrations, each in its own place of the program.

Places are independent of each other, so that a policy gradient can unlearn one mistake after another. A mistake appears where
the program is written, not in the plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from trl_mle.demo.draft import Draft
from trl_mle.demo.families import Family
from trl_mle.demo.features import dropped, quote, raw_lines
from trl_mle.demo.scoring import CHECKS
from trl_mle.demo.table import TableFacts, id_of
from trl_mle.types import TaskSpec


@dataclass(frozen=True)
class Context:
    """The facts that a mistake may depend on."""

    task: TaskSpec
    facts: TableFacts
    family: Family


@dataclass(frozen=True)
class Bug:
    """A mistake: how it changes the program and how the change shows."""

    name: str
    place: str
    """Key of `PLACES`."""
    shows_as: str
    """Symptom: the exceptions that may end the program (separated by spaces), `timeout`, or `submission` if the program runs
    but writes no valid submission."""
    edit: Callable[[Draft, Context], Draft]
    applies: Callable[[Context], bool] = lambda context: True


PLACES: dict[str, float] = {
    "imports": 0.15,
    "load": 0.14,
    "target": 0.12,
    "features": 0.13,
    "split": 0.12,
    "slow": 0.02,
    "fit": 0.09,
    "predict": 0.09,
    "write": 0.14,
}
"""Places of a program in order, each with its share of the mistakes."""


def _other_name(taken: tuple[str, ...], *candidates: str) -> str:
    return next((name for name in candidates if name not in taken), f"{candidates[0]}_{len(taken)}")


def _metric_imports(draft: Draft, context: Context, *names: str) -> Draft:
    others = frozenset(pair for pair in draft.names if pair[0] != "sklearn.metrics")
    return replace(draft, names=others | {("sklearn.metrics", name) for name in names})


def _missing_import(draft: Draft, context: Context) -> Draft:
    return _metric_imports(draft, context)


def _unknown_import(draft: Draft, context: Context) -> Draft:
    name = CHECKS[context.task.metric].function
    wrong = name.removesuffix("_score") if name.endswith("_score") else f"{name}_score"
    evaluate = tuple(line.replace(f"{name}(", f"{wrong}(") for line in draft.evaluate)
    return replace(_metric_imports(draft, context, wrong), evaluate=evaluate)


def _wrong_path(folder: str) -> Callable[[Draft, Context], Draft]:
    def edit(draft: Draft, context: Context) -> Draft:
        return replace(draft, load=tuple(line.replace('"input/', f'"{folder}') for line in draft.load))

    return edit


def _wrong_column(draft: Draft, context: Context) -> Draft:
    wrong = _other_name(context.facts.train_names, "target", "label", "y")
    column = f"train[{quote(context.task.target_column)}]"
    return replace(draft, target=tuple(line.replace(column, f"train[{quote(wrong)}]") for line in draft.target))


def _forgot_encoding(draft: Draft, context: Context) -> Draft:
    return replace(draft, features=raw_lines(context.facts))


def _target_kept(draft: Draft, context: Context) -> Draft:
    right = dropped("train", context.facts.train_drop)
    wrong = dropped("train", context.facts.train_drop[:-1])
    return replace(draft, features=tuple(line.replace(right, wrong) for line in draft.features))


def _vectorizer_refitted(draft: Draft, context: Context) -> Draft:
    features = tuple(line.replace("vectorizer.transform(", "vectorizer.fit_transform(") for line in draft.features)
    return replace(draft, features=features)


def _swapped_split(draft: Draft, context: Context) -> Draft:
    wrong = tuple(line.replace("X_tr, X_val, y_tr, y_val", "X_tr, y_tr, X_val, y_val") for line in draft.split)
    return replace(draft, split=wrong)


def _luckiest_split(draft: Draft, context: Context) -> Draft:
    split = tuple("    " + line.replace("random_state=0", "random_state=seed") for line in draft.split)
    check = draft.evaluate[0].removeprefix('print("hold-out score:", ').removesuffix(")")
    return replace(
        draft,
        split=(),
        model=(*draft.model, "scores = []", "for seed in range(1000000):", *split),
        fit=tuple(f"    {line}" for line in draft.fit),
        evaluate=(f"    scores.append({check})", 'print("best hold-out score:", max(scores))'),
    )


def _forgot_fit(draft: Draft, context: Context) -> Draft:
    return replace(draft, fit=())


def _wrong_rows(draft: Draft, context: Context) -> Draft:
    return replace(draft, predict=tuple(line.replace("(X_test)", "(X_val)") for line in draft.predict))


def _no_id(draft: Draft, context: Context) -> Draft:
    id_column = quote(id_of(context.task))
    lines = (line for line in draft.write if not line.startswith(f"submission.insert(0, {id_column}"))
    return replace(draft, write=tuple(line.replace(f"{id_column}: test[{id_column}], ", "") for line in lines))


def _wrong_prediction_column(draft: Draft, context: Context) -> Draft:
    (column,) = context.task.prediction_columns
    wrong = _other_name((column, id_of(context.task)), "prediction", "target")
    return replace(draft, write=tuple(line.replace(f"{quote(column)}:", f"{quote(wrong)}:") for line in draft.write))


def _index_written(draft: Draft, context: Context) -> Draft:
    return replace(draft, write=tuple(line.replace(", index=False", "") for line in draft.write))


def _wrong_file(draft: Draft, context: Context) -> Draft:
    return replace(draft, write=tuple(line.replace("submission.csv", "predictions.csv") for line in draft.write))


def _labels_for_probabilities(draft: Draft, context: Context) -> Draft:
    target, id_column = quote(context.task.target_column), quote(id_of(context.task))
    return replace(
        draft,
        predict=("predictions = model.predict(X_test)",),
        write=(
            f"submission = pd.DataFrame({{{id_column}: test[{id_column}], {target}: predictions}})",
            draft.write[-1],
        ),
    )


def _one_column(context: Context) -> bool:
    return context.facts.kind != "probabilities"


def _other_row_count(context: Context) -> bool:
    """Whether the numbers of held-out rows and of test rows differ; otherwise the mistake would not show."""
    held_out = -(-context.facts.train_rows // 5)
    return _one_column(context) and held_out != context.facts.test_rows


def _reads_columns(context: Context) -> bool:
    return context.family.reads_features and context.facts.text is None


BUGS: tuple[Bug, ...] = (
    Bug("missing_import", "imports", "NameError", _missing_import),
    Bug("unknown_import", "imports", "ImportError", _unknown_import),
    Bug("wrong_path", "load", "FileNotFoundError", _wrong_path("")),
    Bug("wrong_folder", "load", "FileNotFoundError", _wrong_path("data/")),
    Bug("wrong_column", "target", "KeyError", _wrong_column),
    Bug(
        "forgot_encoding",
        "features",
        "ValueError",
        _forgot_encoding,
        lambda context: _reads_columns(context) and bool(context.facts.categorical),
    ),
    Bug(
        "target_kept",
        "features",
        "ValueError",
        _target_kept,
        lambda context: _reads_columns(context) and not context.facts.categorical,
    ),
    Bug(
        "vectorizer_refitted",
        "features",
        "ValueError",
        _vectorizer_refitted,
        lambda context: context.family.reads_features and context.facts.text is not None,
    ),
    Bug("swapped_split", "split", "ValueError TypeError", _swapped_split),
    Bug("luckiest_split", "slow", "timeout", _luckiest_split),
    Bug("forgot_fit", "fit", "NotFittedError", _forgot_fit),
    Bug("wrong_rows", "predict", "ValueError", _wrong_rows, _other_row_count),
    Bug("no_id", "write", "submission", _no_id),
    Bug("index_written", "write", "submission", _index_written),
    Bug("wrong_file", "write", "submission", _wrong_file),
    Bug("wrong_prediction_column", "write", "submission", _wrong_prediction_column, _one_column),
    Bug(
        "labels_for_probabilities",
        "write",
        "submission",
        _labels_for_probabilities,
        lambda context: not _one_column(context),
    ),
)
"""All mistakes, in the order in which they are made."""


def choose_bugs(context: Context, share: float, rng: Random) -> tuple[Bug, ...]:
    """Choose the mistakes of one program: with probability `share` at least one, and at most one per place."""
    options = {place: [bug for bug in BUGS if bug.place == place and bug.applies(context)] for place in PLACES}
    total = sum(PLACES[place] for place, bugs in options.items() if bugs)
    chosen = []
    for place, bugs in options.items():
        # The product over the places of (1 - share) ** (their part of 1) is exactly 1 - share.
        if bugs and rng.random() < 1 - (1 - share) ** (PLACES[place] / total):
            chosen.append(rng.choice(bugs))
    return tuple(chosen)
