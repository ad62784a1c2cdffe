"""A completion such as a small policy might write, from the decisions that it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from trl_mle.demo.bugs import Bug, Context, choose_bugs
from trl_mle.demo.draft import Draft
from trl_mle.demo.families import FAMILIES, Family
from trl_mle.demo.features import TREATMENTS, Treatment, quote
from trl_mle.demo.scoring import CHECKS
from trl_mle.demo.table import TableFacts, id_of, read_facts
from trl_mle.errors import ConfigError
from trl_mle.types import TaskSpec

REFIT_SHARE = 0.5
"""Share of programs that train again on all rows before they predict."""


@dataclass(frozen=True)
class Choice:
    """All decisions of a completion."""

    family: Family
    treatment: Treatment
    setting: str
    """Expression that makes the model."""
    refit: bool
    bugs: tuple[Bug, ...] = ()


def combinations(task: TaskSpec) -> list[tuple[Family, Treatment]]:
    """Pairs of model family and feature treatment that suit `task`."""
    facts = read_facts(task)
    return [
        (family, treatment)
        for family in FAMILIES
        for treatment in TREATMENTS
        if treatment.applies(facts) and (treatment.dense or not family.dense)
    ]


def build_completion(task: TaskSpec, choice: Choice) -> str:
    """Write the completion of `choice` for `task`."""
    return draft_with_bugs(task, choice).completion()


def draft_with_bugs(task: TaskSpec, choice: Choice) -> Draft:
    """The completion of `choice` in parts, with its mistakes."""
    facts = read_facts(task)
    draft = make_draft(task, choice)
    for bug in choice.bugs:
        draft = bug.edit(draft, Context(task, facts, choice.family))
    return draft


def choose(task: TaskSpec, rng: Random, bug_share: float, family: Family | None = None) -> Choice:
    """Random decisions. The family is `family`, or one drawn by its share.

    Raises:
        TaskError: there are no demonstrations for the metric or for the kind of columns.
        ConfigError: `bug_share` is not at least 0 and less than 1.
    """
    if not 0 <= bug_share < 1:
        raise ConfigError(f"`bug_share` is {bug_share}; it must be at least 0 and less than 1.")
    facts = read_facts(task)
    suited = combinations(task)
    if family is None:
        families = list(dict.fromkeys(family for family, _ in suited))
        family = rng.choices(families, [family.share for family in families])[0]
    treatment = rng.choice([treatment for candidate, treatment in suited if candidate is family])
    return Choice(
        family=family,
        treatment=treatment,
        setting=rng.choice(family.settings[facts.kind == "regression"]),
        refit=rng.random() < REFIT_SHARE,
        bugs=choose_bugs(Context(task, facts, family), bug_share, rng),
    )


def make_draft(task: TaskSpec, choice: Choice) -> Draft:
    """The completion of `choice` in parts, without its mistakes."""
    facts = read_facts(task)
    regression = facts.kind == "regression"
    check = CHECKS[task.metric]
    options = ", keep_default_na=False" if facts.text else ""
    return Draft(
        # One line per decision, because the demo policy's tokens join words within a line.
        plan=(
            f"Model: {choice.family.phrase[regression]}\nFeatures: {choice.treatment.phrase}\n"
            f"Check: a fifth of the rows{', then all rows' if choice.refit else ''}"
        ),
        names=choice.treatment.imports
        | choice.family.imports[regression]
        | {("sklearn.metrics", check.function), ("sklearn.model_selection", "train_test_split")},
        load=tuple(f'{name} = pd.read_csv("input/{name}.csv"{options})' for name in ("train", "test")),
        target=_target(task),
        features=choice.treatment.lines(facts),
        split=(
            "X_tr, X_val, y_tr, y_val = train_test_split(X, y, test_size=0.2, random_state=0"
            + (")" if regression else ", stratify=y)"),
        ),
        model=(
            *(choice.family.before or {}).get(regression, ()),
            f"model = {choice.setting.replace('{scoring}', check.scoring)}",
        ),
        fit=("model.fit(X_tr, y_tr)",),
        evaluate=(check.line(facts.kind),),
        refit=(choice.family.refit,) if choice.refit else (),
        predict=_predict(task, facts),
        write=_write(task, facts),
    )


def _target(task: TaskSpec) -> tuple[str, ...]:
    column = f"train[{quote(task.target_column)}]"
    return (f"y = np.log1p({column})" if task.metric == "rmsle" else f"y = {column}",)


def _predict(task: TaskSpec, facts: TableFacts) -> tuple[str, ...]:
    if task.metric == "rmsle":
        return ("predictions = np.expm1(model.predict(X_test)).clip(0)",)
    calls = {"probability": "predict_proba(X_test)[:, 1]", "probabilities": "predict_proba(X_test)"}
    return (f"predictions = model.{calls.get(facts.kind, 'predict(X_test)')}",)


def _write(task: TaskSpec, facts: TableFacts) -> tuple[str, ...]:
    id_column = quote(id_of(task))
    save = 'submission.to_csv("submission.csv", index=False)'
    if facts.kind == "probabilities":
        return (
            "submission = pd.DataFrame(predictions, columns=model.classes_)",
            f"submission.insert(0, {id_column}, test[{id_column}])",
            save,
        )
    column = quote(task.prediction_columns[0])
    return f"submission = pd.DataFrame({{{id_column}: test[{id_column}], {column}: predictions}})", save
