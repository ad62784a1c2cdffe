"""Picture of figures that `benchmarks/learning.py` wrote: the score of valid programs over the run, a panel per task.

    python benchmarks/learning_picture.py docs/results/learning_durations.json docs/results/learning_tasks.json

Lines are means over the seeds, bands the lowest and highest seed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FIGURE = "score of valid programs"
STYLES = {
    "sum": ("#1f77b4", "-", "one sum, duration weights (the paper)"),
    "sum_none": ("#1f77b4", "--", "one sum, no duration weights"),
    "parts": ("#d62728", "-", "parts, duration weights"),
    "parts_none": ("#d62728", "--", "parts, no duration weights"),
}
"""Arm -> colour, line, words."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results/learning_durations.png"))
    args = parser.parse_args()
    tables = {task: table for path in args.files for task, table in json.loads(path.read_text())["sixths"].items()}
    figure, panels = plt.subplots(1, len(tables), figsize=(4.2 * len(tables), 3.6), sharey=True, squeeze=False)
    for panel, (task, table) in zip(panels[0], tables.items(), strict=True):
        for arm, runs in table.items():
            if arm not in STYLES:
                continue
            values = np.array([run[FIGURE] for run in runs.values()], dtype=float)
            at = np.arange(1, values.shape[1] + 1)
            color, line, words = STYLES[arm]
            panel.plot(at, values.mean(axis=0), line, color=color, label=words)
            panel.fill_between(at, values.min(axis=0), values.max(axis=0), color=color, alpha=0.12, linewidth=0)
        panel.set(title=f"{task}, seeds: {len(next(iter(table.values())))}", xlabel="sixth of the run")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel(FIGURE)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="lower center", ncols=2, frameon=False)
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    figure.savefig(args.out, dpi=120)


if __name__ == "__main__":
    main()
