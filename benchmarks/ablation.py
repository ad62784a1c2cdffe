"""What each part is worth: the demo policy with one part at a time, beside plain `trl.GRPOTrainer`, on the same tasks and seeds.

    python benchmarks/ablation.py --plan                                  # the runs, and their estimated hours
    python benchmarks/ablation.py                                         # all of them, at equal numbers of programs
    python benchmarks/ablation.py --budget clock                          # all of them, at equal wall-clock
    python benchmarks/ablation.py --arm parts --task builtin:segment --seed 3   # one run
    python benchmarks/ablation.py --report                                # tables and pictures of what is done

`benchmarks/ablations/arms.yaml` describes the arms. Tasks are generated and starting policies trained before the first run.
At equal numbers of programs, runs share a cache of programs: one that was scored in any arm has the same reward and CPU seconds in
all of them, and two runs go at a time. At equal wall-clock, every program runs and every run has the machine to itself.

With `--extend`, the runs in the result of an earlier call, on another machine as well, stay in it and are not repeated: seeds and
arms can be added to a published table.

A run that is done is not repeated. One that was cut off, by a kill as well, goes on from its last checkpoint. `--task all` trains
one policy on all tasks and evaluates it on held-out ones, too.

Results go to `docs/results/ablation.json` and `.png`, tables into `docs/ablation.md` and `README.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from ablations.arms import ALL, BUDGETS, Study, read_study
from ablations.jobs import FIGURES, ROOT, Budget, Job, jobs_of, measured_seconds
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trl_mle.errors import UserError

PAGE = ROOT / "docs/ablation.md"


def main() -> int:
    study = read_study()
    args = parser(study).parse_args()
    budget = Budget(args.budget, args.programs if args.budget == "programs" else args.seconds, args.samples)
    processes = 1 if args.budget == "clock" else args.processes
    jobs = list(jobs_of(study, args.runs, args.arm, args.task, args.seed, budget, processes))
    published = {key_of(figures) for figures in earlier(args)}
    jobs = [job for job in jobs if key_of(job.about) not in published]
    if args.plan:
        plan(jobs, processes)
        return 0
    failed = 0 if args.report else run(jobs, study, args, processes)
    report(study, args)
    return 1 if failed else 0


def parser(study: Study) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--arm", nargs="+", choices=study.arms, default=list(study.arms), help="arms; all by default")
    made.add_argument(
        "--task", nargs="+", choices=(*study.each, ALL), default=list(study.each), help="tasks, or `all`"
    )
    made.add_argument("--seed", nargs="+", type=int, default=list(range(5)), help="seeds; 0 to 4 by default")
    made.add_argument("--budget", choices=BUDGETS, default="programs", help="what all runs have as much of")
    made.add_argument("--programs", type=int, default=1536, help="programs of a run")
    made.add_argument("--seconds", type=int, default=600, help="seconds of training of a run with `--budget clock`")
    made.add_argument("--samples", type=int, default=64, help="samples per policy and task afterwards")
    made.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="runs at a time; 1 with `--budget clock`"
    )
    made.add_argument("--runs", type=Path, default=ROOT / "runs/ablation", help="folder of policies, tasks and runs")
    made.add_argument("--out", type=Path, default=ROOT / "docs/results/ablation.json")
    made.add_argument(
        "--extend", action="store_true", help="keep the runs that the file `--out` holds, and do not repeat them"
    )
    made.add_argument("--page", type=Path, default=PAGE, help="page that gets the tables")
    made.add_argument(
        "--readme", type=Path, default=ROOT / "README.md", help="page that gets the short table at equal wall-clock"
    )
    made.add_argument("--plan", action="store_true", help="list the runs and their estimated hours, and end")
    made.add_argument(
        "--report", action="store_true", help="tables and pictures of the runs that are done; run nothing"
    )
    return made


def earlier(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Figures of the runs of an earlier result that is to be extended."""
    if not (args.extend and args.out.exists()):
        return []
    runs = list(json.loads(args.out.read_text(encoding="utf-8"))["figures"])
    amounts = {"programs": args.programs, "clock": args.seconds}
    for run in runs:
        if run["amount"] != amounts[run["budget"]]:
            flag = "--programs" if run["budget"] == "programs" else "--seconds"
            raise UserError(
                f"{args.out} has runs of {run['amount']} {flag[2:]}, and this call has {amounts[run['budget']]}, which cannot be "
                f"compared. Give `{flag} {run['amount']}`, or leave `--extend` out."
            )
    return runs


def key_of(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """What two runs do not share, by their figures or by what a job says of itself."""
    return tuple(run[name] for name in ("arm", "task", "seed", "budget", "amount"))


def plan(jobs: list[Job], processes: int) -> None:
    """List the runs that are missing, by arm, with estimated hours."""
    measured = measured_seconds(jobs)
    missing = [job for job in jobs if not job.is_done]
    counts, seconds = Counter(job.arm.name for job in missing), Counter[str]()
    for job in missing:
        seconds[job.arm.name] += round(job.estimate_s(measured))
    print(f"{'arm':20} {'runs':>5} {'hours':>7}  estimated from")
    for name, count in counts.items():
        source = "its runs" if name in measured else "an assumed speed"
        print(f"{name:20} {count:5} {seconds[name] / 3600:7.1f}  {source}")
    hours = seconds.total() / 3600 / processes
    print(
        f"{len(jobs) - len(missing)} of {len(jobs)} runs are done. The others take about {hours:.1f} hours, {processes} at a time."
    )


def run(jobs: list[Job], study: Study, args: argparse.Namespace, processes: int) -> int:
    """Make whatever is missing; returns the number of runs that failed."""
    from ablations.prepare import prepare

    missing = [job for job in jobs if not job.is_done]
    # The source of a fine-tuned arm is trained first, whether it was asked for or not.
    first = [job for job in missing if job.arm.source is None]
    sources = {job.arm.source for job in missing if job.arm.source is not None}
    for job in (
        jobs_of(study, args.runs, sorted(sources), args.task, args.seed, missing[0].budget, processes)
        if missing
        else ()
    ):
        if not job.is_done and all(job.name != other.name for other in first):
            first.append(job)
    if missing:
        prepare(study, args.runs, sorted({job.arm.policy for job in [*first, *missing]}))
    failed = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar, ThreadPool(processes) as pool:
        after = [job for job in missing if job.arm.source is not None]
        line = bar.add_task("runs", total=len(first) + len(after))
        for group in (first, after):
            for job, message in pool.imap_unordered(lambda job: (job, job.run()), group):
                failed += not job.is_done
                bar.update(line, advance=1, description=f"{job.arm.name}, {job.task}, seed {job.seed}: {message}")
                if not job.is_done:
                    bar.console.print(f"{job.name}: {message}", markup=False, soft_wrap=True)
    return failed


def report(study: Study, args: argparse.Namespace) -> None:
    """Figures, picture and tables of all runs of these sizes that are done, whatever was asked for in this call."""
    from ablations.compare import summarise
    from ablations.picture import draw
    from ablations.table import headline, insert, markdown

    folders = (f"programs-{args.programs}", f"clock-{args.seconds}")
    paths = sorted(path for folder in folders for path in (args.runs / folder).glob(f"*/*/{FIGURES}"))
    made = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    runs = list({key_of(run): run for run in [*earlier(args), *made]}.values())
    if not runs:
        print(f"No run in {args.runs} is done, so there is nothing to report.")
        return
    results = {budget: summary for budget in BUDGETS if (summary := summarise(runs, study, budget))}
    result: dict[str, Any] = {
        "command": f"python benchmarks/ablation.py --programs {args.programs} --seconds {args.seconds} --samples {args.samples}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
        "versions": {name: version(name) for name in ("trl_mle", "trl", "transformers", "torch", "scikit-learn")},
        "runs": len(runs),
        "results": results,
        "figures": runs,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(results, args.out.with_suffix(".png"))
    text = markdown(result)
    for page, content in ((args.page, text), (args.readme, headline(result))):
        if content is not None and page.exists():
            insert(page, content)
    print(text)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted. The same command goes on.")
