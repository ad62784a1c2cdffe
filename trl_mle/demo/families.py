"""Model families, from the cheapest to the most expensive."""

from __future__ import annotations

from dataclasses import dataclass

from trl_mle.demo.draft import Import

FOREST = {True: "RandomForestRegressor", False: "RandomForestClassifier"}
BOOSTING = {True: "HistGradientBoostingRegressor", False: "HistGradientBoostingClassifier"}
LINEAR = {True: "Ridge", False: "LogisticRegression"}
TREES = {True: "ExtraTreesRegressor", False: "ExtraTreesClassifier"}
STACKING = {True: "StackingRegressor", False: "StackingClassifier"}


@dataclass(frozen=True, eq=False)
class Family:
    """A family of models, with the settings from which a program chooses one."""

    name: str
    phrase: dict[bool, str]
    """Name in the plan, by whether the task is a regression."""
    share: float
    """Relative frequency among the programs."""
    imports: dict[bool, frozenset[Import]]
    settings: dict[bool, tuple[str, ...]]
    """Expressions that make the model, one per setting. `{scoring}` stands for the metric's name in scikit-learn."""
    before: dict[bool, tuple[str, ...]] | None = None
    """Lines that define names of the expression."""
    refit: str = "model.fit(X, y)"
    """Line that trains the model again on all rows."""
    dense: bool = False
    """Whether the model needs a dense matrix."""
    reads_features: bool = True
    """Whether the model uses `X` at all."""


def _from(module: str, *names: str) -> frozenset[Import]:
    return frozenset((f"sklearn.{module}", name) for name in names)


def _each(template: str, classes: dict[bool, str], values: tuple[object, ...]) -> dict[bool, tuple[str, ...]]:
    return {
        regression: tuple(template.format(cls=name, value=value) for value in values)
        for regression, name in classes.items()
    }


def _module(module: str, classes: dict[bool, str]) -> dict[bool, frozenset[Import]]:
    return {regression: _from(module, name) for regression, name in classes.items()}


_NEIGHBOURS = {True: "KNeighborsRegressor", False: "KNeighborsClassifier"}
_TREE = {True: "DecisionTreeRegressor", False: "DecisionTreeClassifier"}
_DUMMY = {True: "DummyRegressor", False: "DummyClassifier"}

FAMILIES: tuple[Family, ...] = (
    Family(
        name="constant",
        phrase={True: "a constant guess", False: "a constant guess"},
        share=0.12,
        imports=_module("dummy", _DUMMY),
        settings={
            True: ('DummyRegressor(strategy="mean")', 'DummyRegressor(strategy="median")'),
            False: ('DummyClassifier(strategy="prior")',),
        },
        reads_features=False,
    ),
    Family(
        name="linear",
        phrase={True: "ridge regression", False: "logistic regression"},
        share=0.26,
        imports=_module("linear_model", LINEAR),
        settings={
            True: tuple(f"Ridge(alpha={alpha})" for alpha in (0.1, 1.0, 10.0, 100.0)),
            False: tuple(f"LogisticRegression(C={c}, max_iter=200)" for c in (0.01, 0.1, 1.0, 10.0)),
        },
    ),
    Family(
        name="neighbours",
        phrase={True: "nearest neighbours", False: "nearest neighbours"},
        share=0.17,
        imports=_module("neighbors", _NEIGHBOURS),
        settings=_each("{cls}(n_neighbors={value})", _NEIGHBOURS, (3, 5, 10, 25)),
    ),
    Family(
        name="tree",
        phrase={True: "a decision tree", False: "a decision tree"},
        share=0.2,
        imports=_module("tree", _TREE),
        settings=_each("{cls}(max_depth={value}, random_state=0)", _TREE, (3, 6, 10, 20)),
    ),
    Family(
        name="forest",
        phrase={True: "a random forest", False: "a random forest"},
        share=0.1,
        imports=_module("ensemble", FOREST),
        settings=_each("{cls}(n_estimators={value}, max_depth=8, random_state=0)", FOREST, (10, 30, 60)),
    ),
    Family(
        name="boosting",
        phrase={True: "gradient boosting", False: "gradient boosting"},
        share=0.07,
        imports=_module("ensemble", BOOSTING),
        settings={
            regression: tuple(f"{BOOSTING[regression]}(max_iter={rounds}, random_state=0)" for rounds in choices)
            for regression, choices in {True: (10, 20, 40), False: (10, 20)}.items()
        },
        dense=True,
    ),
    Family(
        name="tuned",
        phrase={True: "tuned gradient boosting", False: "tuned gradient boosting"},
        share=0.05,
        imports={
            regression: _from("ensemble", name) | _from("model_selection", "GridSearchCV")
            for regression, name in BOOSTING.items()
        },
        before=dict.fromkeys((True, False), ('grid = {"learning_rate": [0.05, 0.1], "max_leaf_nodes": [8, 16, 31]}',)),
        settings={
            regression: tuple(
                f"GridSearchCV({BOOSTING[regression]}(max_iter={value}, random_state=0), grid, cv=3, "
                'scoring="{scoring}")'
                for value in values
            )
            for regression, values in {True: (150, 300), False: (40, 60)}.items()
        },
        refit="model = model.best_estimator_.fit(X, y)",
        dense=True,
    ),
    Family(
        name="stacking",
        phrase={True: "a stack of boosting and trees", False: "a stack of boosting and trees"},
        share=0.04,
        imports={
            regression: _from("ensemble", BOOSTING[regression], TREES[regression], STACKING[regression])
            | _from("linear_model", LINEAR[regression])
            for regression in (True, False)
        },
        before={
            regression: (
                "members = [",
                f'    ("boosting", {BOOSTING[regression]}(max_iter={rounds}, random_state=0)),',
                f'    ("trees", {TREES[regression]}(100, random_state=0)),',
                "]",
            )
            for regression, rounds in {True: 300, False: 60}.items()
        },
        settings={
            regression: tuple(
                f"{STACKING[regression]}(members, {LINEAR[regression]}(), cv={folds})" for folds in (3, 5)
            )
            for regression in (True, False)
        },
        dense=True,
    ),
)
