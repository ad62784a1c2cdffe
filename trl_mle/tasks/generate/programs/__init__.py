"""The two programs of a generated task, written from templates: `baseline.py` and `reference.py`."""

from __future__ import annotations

import re
from pathlib import Path

from trl_mle.grading import get_metric
from trl_mle.tasks.generate.columns import CleanTable
from trl_mle.tasks.generate.targets import Proposal

_HERE = Path(__file__).parent
_IMPORTS = {
    "regression": {
        "imports": "ExtraTreesRegressor, HistGradientBoostingRegressor",
        "linear": "RidgeCV",
        "metrics": "mean_absolute_error, root_mean_squared_error",
        "folds": "KFold",
        "model": "DecisionTreeRegressor",
    },
    "classes": {
        "imports": "ExtraTreesClassifier, HistGradientBoostingClassifier",
        "linear": "LogisticRegression",
        "metrics": "accuracy_score, f1_score, log_loss, roc_auc_score",
        "folds": "StratifiedKFold",
        "model": "DecisionTreeClassifier",
    },
}


def write_programs(proposal: Proposal, table: CleanTable) -> dict[str, str]:
    """Texts of `baseline.py` and `reference.py`. Names of columns are literals of Python, whatever they hold."""
    kind = "regression" if proposal.kind == "regression" else "classes"
    features = [name for name in table.frame.columns if name != proposal.column]
    values = _IMPORTS[kind] | {
        "target": repr(proposal.column),
        "metric": repr(proposal.metric),
        "dates": repr([name for name in features if table.kinds[name] == "date"]),
        "texts": repr([name for name in features if table.kinds[name] == "text"]),
        "probabilities": repr(get_metric(proposal.metric).predicts == "probability"),
    }

    def fill(name: str) -> str:
        text = (_HERE / f"{name}.txt").read_text(encoding="utf-8")
        # In one pass: a name of a column may look like a placeholder.
        return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], text)

    return {name: f"{fill(name)}{fill(f'{name}_{kind}')}" for name in ("baseline", "reference")}
