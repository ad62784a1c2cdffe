"""How many groups have rewards that are all equal, at several group sizes: from the rollouts of runs, without a further program.

    python benchmarks/flat_groups.py runs/quickstart [runs/other ...] --sizes 4 8 16

The completions of one prompt and one update are exchangeable, so a random part of a group is a smaller group. Printed for each
third of a run, and written to `--out`: the valid share, and the mean share of groups with equal rewards over random parts of its
groups.
"""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

from trl_mle.outcomes import Column, RunColumn, read_rollouts

DRAWS = 100
"""Random parts of each group."""


def flat_share(rewards: np.ndarray, size: int, rng: np.random.Generator) -> float:
    """Share of random groups of `size` among `rewards`, shape `(n,)`, whose rewards are all equal."""
    parts = rng.permuted(np.tile(rewards, (DRAWS, 1)), axis=1)[:, :size]
    return float((parts.max(axis=1) == parts.min(axis=1)).mean())


def thirds(folder: Path, sizes: list[int]) -> tuple[list[float], dict[int, list[float | None]]]:
    """Valid share, and size -> share of flat groups, in each third of a run."""
    rollouts = read_rollouts(folder)
    rollouts = rollouts[(rollouts[Column.KIND] != "fault") & (rollouts.get("mode", "train") == "train")]
    rng = np.random.default_rng(0)
    parts = np.array_split(np.sort(rollouts[RunColumn.STEP].unique()), 3)
    valid, found = [], {size: [] for size in sizes}
    for steps in parts:
        rows = rollouts[rollouts[RunColumn.STEP].isin(steps)]
        valid.append(round(float((rows[Column.KIND] == "valid").mean()), 3))
        groups = [
            group[Column.REWARD].to_numpy(dtype=float)
            for _, group in rows.assign(asked=rows["prompt"].map(repr)).groupby([RunColumn.STEP, "asked"])
        ]
        for size in sizes:
            shares = [flat_share(rewards, size, rng) for rewards in groups if len(rewards) >= size]
            found[size].append(round(float(np.mean(shares)), 3) if shares else None)
    return valid, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 8, 16], help="group sizes")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()
    results: dict[str, dict] = {}
    for folder in args.runs:
        valid, found = thirds(folder, args.sizes)
        results[folder.name] = {"valid_share": valid, "flat_share": found}
        print(f"{folder}: valid {valid}")
        for size, shares in found.items():
            print(f"  groups of {size:3d}: {shares}")
    if args.out is not None:
        by = {"python": platform.python_version(), "trl": version("trl"), "draws": DRAWS}
        args.out.write_text(json.dumps({"made_by": by, "thirds_of_each_run": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
