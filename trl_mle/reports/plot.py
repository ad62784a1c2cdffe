"""The picture of a run: reward, kinds of outcome, milestones and duration over the steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import missing_extra
from trl_mle.evaluation.summary import scored_rollouts
from trl_mle.outcomes import Column, RunColumn
from trl_mle.reports.png import write_png
from trl_mle.types import MILESTONES

if TYPE_CHECKING:
    import pandas as pd

COLOURS = {"valid": "#2a9d5c", "failure": "#c8553d", "timeout": "#e9b44c", "fault": "#8d99ae"}
"""Colour of each kind of outcome, from the bottom of the stack to its top."""


def plot_run(
    rollouts: pd.DataFrame,
    path: Path,
    title: str,
    levels: Mapping[str, float] | None = None,
    reward_columns: Mapping[str, str] | None = None,
) -> None:
    """Write a PNG with four panels.

    Args:
        rollouts (`pandas.DataFrame`):
            Rollouts from `read_rollouts`.
        path (`Path`):
            The file to write.
        title (`str`):
            The figure's heading.
        levels (mapping from name to reward, *optional*):
            Horizontal lines in the panel of rewards of valid programs, such as the baseline's and the reference's.
        reward_columns (mapping from reward function to column, *optional*):
            Reward functions of the run. If there are several, the panel of rewards has a line for each.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise missing_extra("matplotlib", "report") from error

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    ((reward, kinds), (milestones, duration)) = figure.subplots(2, 2, sharex=True)
    # One point per generation batch, at the training step that the batch was generated for.
    steps = rollouts.groupby(RunColumn.BATCH)[RunColumn.STEP].first()

    scored = scored_rollouts(rollouts)
    rewards = scored.groupby(RunColumn.BATCH)[Column.REWARD].mean()
    _mean_line(reward, steps, rewards, "#1d3557", "all programs")
    if len(reward_columns or {}) > 1:
        for name, column in (reward_columns or {}).items():
            means = rollouts[column].astype(float).groupby(rollouts[RunColumn.BATCH]).mean()
            smooth = _running_mean(means.reindex(steps.index))
            reward.plot(steps, smooth, linewidth=1, linestyle="-.", label=f"reward {name}".replace("$", r"\$"))
        reward.legend(fontsize=8, loc="lower right")
    reward.set(title="Mean reward", ylabel="reward")
    valid = scored[scored[Column.KIND] == "valid"]
    if not valid.empty:
        # Valid programs differ by a fraction of what separates them from failures: they get an axis of their own.
        inset = reward.twinx()
        _mean_line(
            inset, steps, valid.groupby(RunColumn.BATCH)[Column.REWARD].mean(), COLOURS["valid"], "valid programs"
        )
        for (name, level), style in zip((levels or {}).items(), (":", "--", "-."), strict=False):
            inset.axhline(level, color=COLOURS["valid"], linestyle=style, linewidth=1, alpha=0.7, label=name)
        inset.set_ylim(-1.05, 1.05)
        inset.set_ylabel("reward of valid programs", color=COLOURS["valid"])
        handles = [*reward.get_legend_handles_labels()[0], *inset.get_legend_handles_labels()[0]]
        reward.legend(handles=handles, fontsize=8, loc="lower right")

    shares = rollouts.groupby(RunColumn.BATCH)[Column.KIND].value_counts(normalize=True).unstack(fill_value=0.0)
    present = [kind for kind in COLOURS if kind in shares]
    if present:  # a run may have lost every program
        kinds.stackplot(
            steps.to_numpy(),
            [shares[k].reindex(steps.index, fill_value=0.0) for k in present],
            labels=present,
            colors=[COLOURS[k] for k in present],
        )
        kinds.legend(fontsize=8, loc="lower right")
    kinds.set(title="What became of the programs", ylabel="share", ylim=(0, 1))

    for milestone in MILESTONES:
        reached = scored[Column.MILESTONES].map(
            lambda names, m=milestone: isinstance(names, Iterable) and m in list(names)
        )
        milestones.plot(
            steps, reached.groupby(scored[RunColumn.BATCH]).mean().reindex(steps.index), label=milestone, linewidth=1.3
        )
    milestones.set(title="Milestones reached", ylabel="share of programs", xlabel="step", ylim=(0, 1.02))
    milestones.legend(fontsize=7, loc="lower right")

    # A completion that never ran has NaN, which no mean and no quantile counts.
    seconds = rollouts[Column.DURATION].astype(float).groupby(rollouts[RunColumn.BATCH])
    quantiles = seconds.quantile([0.1, 0.5, 0.9]).unstack().reindex(steps.index)
    duration.fill_between(steps, quantiles[0.1], quantiles[0.9], color="#457b9d", alpha=0.25, label="10 to 90 %")
    duration.plot(steps, quantiles[0.5], color="#457b9d", label="median")
    duration.plot(steps, seconds.mean().reindex(steps.index), color="#1d3557", linestyle="--", label="mean")
    duration.set(title="Duration of execution", ylabel="seconds", xlabel="step")
    if quantiles.notna().any(axis=None):
        duration.set_yscale("log")
    duration.legend(fontsize=8)
    duration.xaxis.set_major_locator(MaxNLocator(integer=True))  # of all panels: they share the axis
    write_png(figure, path)


def _mean_line(axes, steps, values, colour, label) -> None:
    """Draw faint points and a running mean over about a tenth of the run."""
    values = values.reindex(steps.index)
    axes.plot(steps, values, ".", color=colour, alpha=0.35, markersize=4)
    axes.plot(steps, _running_mean(values), color=colour, label=label)


def _running_mean(values: pd.Series) -> pd.Series:
    return values.rolling(max(1, len(values) // 10), min_periods=1, center=True).mean()
