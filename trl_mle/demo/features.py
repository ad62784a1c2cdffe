"""Feature treatments: how a program turns columns into `X` and `X_test`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from trl_mle.demo.draft import Import
from trl_mle.demo.table import TableFacts

WIDE = 30
"""Number of columns from which principal components are tried, and below which squares of columns are tried."""


@dataclass(frozen=True)
class Treatment:
    """A way to turn columns into features."""

    name: str
    phrase: str
    """Name in the plan."""
    applies: Callable[[TableFacts], bool]
    lines: Callable[[TableFacts], tuple[str, ...]]
    """Lines that define `X` and `X_test` from `train` and `test`."""
    imports: frozenset[Import] = frozenset()
    dense: bool = True
    """Whether `X` is a dense matrix."""


def quote(name: str) -> str:
    """`name` as a string literal in double quotes."""
    return json.dumps(name, ensure_ascii=False)


def quote_list(names: Iterable[str]) -> str:
    """`names` as a list of string literals."""
    return f"[{', '.join(map(quote, names))}]"


def dropped(frame: str, columns: tuple[str, ...]) -> str:
    """An expression for `frame` without `columns`."""
    return f"{frame}.drop(columns={quote_list(columns)})" if columns else frame


def raw_lines(facts: TableFacts) -> tuple[str, ...]:
    """Lines that take the columns of the files as features, unchanged."""
    return f"X = {dropped('train', facts.train_drop)}", f"X_test = {dropped('test', facts.test_drop)}"


def _filled(facts: TableFacts, lines: tuple[str, ...]) -> tuple[str, ...]:
    if not facts.missing:
        return lines
    return (*lines, "X_test = X_test.fillna(X.median())", "X = X.fillna(X.median())")


def _raw(facts: TableFacts) -> tuple[str, ...]:
    return _filled(facts, raw_lines(facts))


def _numbers(facts: TableFacts) -> tuple[str, ...]:
    first, _ = raw_lines(facts)
    return _filled(facts, (f'{first}.select_dtypes("number")', "X_test = test[X.columns]"))


def _onehot(facts: TableFacts) -> tuple[str, ...]:
    lines = (
        f"X = pd.get_dummies({dropped('train', facts.train_drop)})",
        f"X_test = pd.get_dummies({dropped('test', facts.test_drop)}).reindex(columns=X.columns, fill_value=0)",
    )
    return _filled(facts, lines)


def _ordinal(facts: TableFacts) -> tuple[str, ...]:
    lines = (
        *raw_lines(facts),
        'names = X.select_dtypes(exclude="number").columns',
        'encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)',
        "X[names] = encoder.fit_transform(X[names])",
        "X_test[names] = encoder.transform(X_test[names])",
    )
    return _filled(facts, lines)


def _scaled(facts: TableFacts) -> tuple[str, ...]:
    return (
        *(_onehot(facts) if facts.categorical else _raw(facts)),
        "scaler = StandardScaler()",
        "X = scaler.fit_transform(X)",
        "X_test = scaler.transform(X_test)",
    )


def _squares(facts: TableFacts) -> tuple[str, ...]:
    return (
        *_raw(facts),
        'X = pd.concat([X, X.pow(2).add_suffix("_squared")], axis=1)',
        'X_test = pd.concat([X_test, X_test.pow(2).add_suffix("_squared")], axis=1)',
    )


def _components(facts: TableFacts) -> tuple[str, ...]:
    return (
        *_raw(facts),
        "pca = PCA(n_components=20, random_state=0)",
        "X = pca.fit_transform(X)",
        "X_test = pca.transform(X_test)",
    )


def _groups(analyzer: str, shortest: int, longest: int) -> Callable[[TableFacts], tuple[str, ...]]:
    def lines(facts: TableFacts) -> tuple[str, ...]:
        column = quote(facts.text or "")
        return (
            f'vectorizer = TfidfVectorizer(analyzer="{analyzer}", ngram_range=({shortest}, {longest}), min_df=2)',
            f"X = vectorizer.fit_transform(train[{column}])",
            f"X_test = vectorizer.transform(test[{column}])",
        )

    return lines


def _condensed(facts: TableFacts) -> tuple[str, ...]:
    return (
        *_groups("char_wb", 1, 2)(facts),
        "svd = TruncatedSVD(n_components=20, random_state=0)",
        "X = svd.fit_transform(X)",
        "X_test = svd.transform(X_test)",
    )


_TFIDF: Import = ("sklearn.feature_extraction.text", "TfidfVectorizer")


def _numeric_only(facts: TableFacts) -> bool:
    return facts.text is None and not facts.categorical


TREATMENTS: tuple[Treatment, ...] = (
    Treatment(
        "numbers",
        "the numeric columns",
        lambda facts: bool(facts.categorical and facts.numeric),
        _numbers,
    ),
    Treatment("onehot", "one-hot encoded categories", lambda facts: bool(facts.categorical), _onehot),
    Treatment(
        "ordinal",
        "categories as numbers",
        lambda facts: bool(facts.categorical),
        _ordinal,
        frozenset({("sklearn.preprocessing", "OrdinalEncoder")}),
    ),
    Treatment("raw", "the columns as they are", _numeric_only, _raw),
    Treatment(
        "scaled",
        "standardised columns",
        lambda facts: facts.text is None,
        _scaled,
        frozenset({("sklearn.preprocessing", "StandardScaler")}),
    ),
    Treatment(
        "squares",
        "the columns and their squares",
        lambda facts: _numeric_only(facts) and len(facts.numeric) < WIDE,
        _squares,
    ),
    Treatment(
        "components",
        "principal components",
        lambda facts: _numeric_only(facts) and len(facts.numeric) >= WIDE,
        _components,
        frozenset({("sklearn.decomposition", "PCA")}),
    ),
    Treatment(
        "letters",
        "letters and pairs of letters",
        lambda facts: facts.text is not None,
        _groups("char", 1, 2),
        frozenset({_TFIDF}),
        dense=False,
    ),
    Treatment(
        "letter_groups",
        "groups of up to four letters",
        lambda facts: facts.text is not None,
        _groups("char_wb", 1, 4),
        frozenset({_TFIDF}),
        dense=False,
    ),
    Treatment(
        "condensed",
        "condensed pairs of letters",
        lambda facts: facts.text is not None,
        _condensed,
        frozenset({_TFIDF, ("sklearn.decomposition", "TruncatedSVD")}),
    ),
)
