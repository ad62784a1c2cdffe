"""The score on held-out rows that a program prints: scikit-learn's function and call, by metric."""

from __future__ import annotations

from dataclasses import dataclass

from trl_mle.demo.table import Kind


@dataclass(frozen=True)
class Check:
    """A score on held-out rows."""

    function: str
    """Name in `sklearn.metrics`."""
    scoring: str
    """Name for `scoring=`, where higher is always better."""
    options: str = ""
    """Further arguments of the call."""

    def line(self, kind: Kind) -> str:
        """The line that prints the score."""
        predicted = {
            "regression": "model.predict(X_val)",
            "labels": "model.predict(X_val)",
            "probability": "model.predict_proba(X_val)[:, 1]",
            "probabilities": "model.predict_proba(X_val)",
        }[kind]
        return f'print("hold-out score:", {self.function}(y_val, {predicted}{self.options}))'


CHECKS: dict[str, Check] = {
    "rmse": Check("root_mean_squared_error", "neg_root_mean_squared_error"),
    # The models learn the logarithm of the target, so its RMSE is the RMSLE.
    "rmsle": Check("root_mean_squared_error", "neg_root_mean_squared_error"),
    "mae": Check("mean_absolute_error", "neg_mean_absolute_error"),
    "median_absolute_error": Check("median_absolute_error", "neg_median_absolute_error"),
    "r2": Check("r2_score", "r2"),
    "accuracy": Check("accuracy_score", "accuracy"),
    "balanced_accuracy": Check("balanced_accuracy_score", "balanced_accuracy"),
    "f1_macro": Check("f1_score", "f1_macro", ', average="macro"'),
    "f1_weighted": Check("f1_score", "f1_weighted", ', average="weighted"'),
    "matthews_corrcoef": Check("matthews_corrcoef", "matthews_corrcoef"),
    "log_loss": Check("log_loss", "neg_log_loss"),
    "roc_auc": Check("roc_auc_score", "roc_auc"),
}
"""Check for each metric of `trl_mle.demo.table.KINDS`."""
