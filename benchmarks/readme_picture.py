"""Draws the picture on the README's first screen from the runs of `benchmarks/quickstart.py`.

    python benchmarks/quickstart.py --seeds 3
    python benchmarks/readme_picture.py

Left: share of programs with a valid submission. Right: score of the valid programs, against the task's baseline and
reference programs. Writes `docs/results/learning.png`, and the plotted numbers to `docs/results/learning.json` beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trl_mle.outcomes import Column, RunColumn

ROOT = Path(__file__).parent.parent
# Okabe and Ito's palette: told apart with every common colour blindness. https://jfly.uni-koeln.de/color/
BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"


def read_runs(folders: list[Path]) -> pd.DataFrame:
    """Step, kind and public score of every rollout, with the column `run`: the number of the folder."""
    columns = [RunColumn.STEP, Column.KIND, Column.PUBLIC_SCORE]
    return pd.concat(
        pd.read_parquet(file, columns=columns).assign(run=run)
        for run, folder in enumerate(folders)
        for file in sorted((folder / "rollouts").glob("train_*.parquet"))
    )


def curves(rollouts: pd.DataFrame, minimize: bool) -> pd.DataFrame:
    """Per step, over all runs: valid share (and that of each run), median of the valid scores, best score so far."""
    is_valid = rollouts[Column.KIND] == "valid"
    valid = rollouts[is_valid]
    scores = valid[Column.PUBLIC_SCORE].astype(float)
    share = is_valid.groupby([rollouts[RunColumn.STEP], rollouts["run"]]).mean().unstack()
    per_run = scores.groupby([valid[RunColumn.STEP], valid["run"]])
    best = (per_run.min().unstack().cummin() if minimize else per_run.max().unstack().cummax()).ffill()
    return pd.DataFrame(
        {
            "valid_share": share.mean(axis=1),
            **{f"valid_share_{run}": share[run] for run in share},
            "score_median": scores.groupby(valid[RunColumn.STEP]).median(),
            "best_so_far": best.mean(axis=1),
        }
    ).rename_axis("step")


def draw(table: pd.DataFrame, levels: dict[str, float], metric: str, path: Path) -> None:
    """Write the PNG: two panels, 1600 by 680 pixels, so that it is sharp at a width of 800."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    steps = table.index.to_numpy() + 1

    seeds = [name for name in table if name.startswith("valid_share_")]
    for name in seeds:
        left.plot(steps, 100 * table[name], color=BLUE, linewidth=0.8, alpha=0.35)
    left.plot(steps, 100 * table["valid_share"], color=BLUE, linewidth=2.4)
    text = f"mean of {len(seeds)} seeds (thin: each seed)" if len(seeds) > 1 else "one seed"
    label(left, text, (steps[-1], 5), BLUE)
    left.set_title("Programs with a valid submission", loc="left", fontweight="bold", fontsize=11)
    left.set(xlabel="training step", ylabel="share (%)", ylim=(0, 100))

    median, best = table["score_median"], table["best_so_far"]
    right.plot(steps, median, color=BLUE, linewidth=2.4, label="median of the valid programs")
    right.plot(steps, best, color=GREEN, linewidth=2.4, label="best so far (mean of seeds)")
    figure.legend(loc="outside lower right", ncols=2, frameon=False, labelcolor="linecolor", fontsize=9)
    for (name, level), color in zip(levels.items(), (VERMILION, GREY), strict=True):
        right.axhline(level, color=color, linestyle="--", linewidth=1.2)
        above = level == max(levels.values())  # away from the curves, which lie between the two levels
        label(right, f"the task's {name} program: {level:.0f}", (steps[-1], level), color, above=above)
    right.set_title("Score of the valid programs", loc="left", fontweight="bold", fontsize=11)
    right.set(xlabel="training step", ylabel=metric)
    curves_and_levels = [*levels.values(), *median, *best]
    margin = 0.25 * (max(curves_and_levels) - min(curves_and_levels))  # room for the labels
    right.set_ylim(min(curves_and_levels) - margin, max(curves_and_levels) + margin)

    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xticks([1, *range(5, int(steps[-1]) + 1, 5)])
    figure.savefig(path, dpi=200)


def label(axes: Axes, text: str, at: tuple[float, float], color: str, above: bool = True) -> None:
    """Write `text` in the colour of its curve, right-aligned above or below the point `at`."""
    axes.annotate(
        text, at, xytext=(0, 5 if above else -5), textcoords="offset points",
        ha="right", va="bottom" if above else "top", color=color,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, nargs="+", help="output folders of the runs, one per seed")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/learning.png")
    args = parser.parse_args()
    runs = args.runs or sorted(ROOT.glob("runs/benchmark-quickstart-*"))
    if not runs:
        sys.exit("No runs in runs/benchmark-quickstart-*. Run `python benchmarks/quickstart.py --seeds 3` first.")

    programs_of_tasks = json.loads((runs[0] / "summary.json").read_text())["own_programs"]
    ((task, programs),) = programs_of_tasks.items()
    levels = {name: programs[name]["public"] for name in ("baseline", "reference")}
    table = curves(read_runs(runs), minimize=levels["reference"] < levels["baseline"])
    draw(table, levels, "RMSE, public part (lower is better)", args.out)
    record = {"command": "python benchmarks/readme_picture.py", "task": task, "runs": len(runs), "levels": levels}
    rows = table.round(4).reset_index().to_dict(orient="list")
    args.out.with_suffix(".json").write_text(json.dumps({**record, "curves": rows}) + "\n")
    print(f"written: {args.out} from {len(runs)} runs, {args.out.with_suffix('.json')}")


if __name__ == "__main__":
    main()
