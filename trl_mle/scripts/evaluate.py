"""Evaluation of policies on tasks: `trl-mle evaluate`. `recipes/evaluate_mle.py` is the same script.

trl-mle evaluate --policies before=runs/demo-policy after=runs/quickstart reference --tasks builtin:computers -n 32
trl-mle evaluate --show runs/evaluation
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trl_mle.errors import ConfigError, UserError
from trl_mle.scripts.console import prepare_console
from trl_mle.scripts.user_errors import user_errors


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate with settings from `arguments`, by default those of this process.

    Returns 0, 1 if samples are missing because of faults, or 130 if the user stopped the evaluation.
    """
    prepare_console()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # argparse knows no long flag with one dash, and `-n` is what everybody types.
    arguments = ["--n" if argument == "-n" else argument for argument in arguments]
    with user_errors():
        if arguments[:1] == ["--show"]:
            if len(arguments) != 2:
                raise ConfigError(
                    "`--show` needs the folder of an evaluation, and nothing else: `trl-mle evaluate --show FOLDER`."
                )
            return finish(Path(arguments[1]))
        return run(parse(arguments))


def parse(arguments: Sequence[str]) -> Any:
    """Settings from YAML and flags."""
    from trl_mle.scripts.evaluate_arguments import EvaluateArguments
    from trl_mle.scripts.settings import parse_arguments

    with user_errors(parsing=True):
        (parsed,) = parse_arguments("evaluate", (EvaluateArguments,), arguments)
    return parsed


def run(args: Any) -> int:
    """Evaluate, write the files of the evaluation, and show it."""
    import asyncio
    from dataclasses import asdict, replace

    from trl_mle.evaluation import evaluate_async
    from trl_mle.evaluation.sample_store import STORE_FILE
    from trl_mle.language_models.sampling import parse_source
    from trl_mle.rewards import ProgramScorer
    from trl_mle.sandboxes.backends import make_sandbox
    from trl_mle.scripts.build import make_instrumenter, validate_tasks, with_time_limit
    from trl_mle.scripts.checks import check_model_path, check_output_dir, check_task_ids
    from trl_mle.scripts.console import hide_bars
    from trl_mle.scripts.evaluation_progress import EvaluationProgress
    from trl_mle.scripts.trained_policies import training_of
    from trl_mle.tasks import load_task

    hide_bars()
    check_output_dir(args.output_dir)
    out = Path(args.output_dir)
    trainings = {}
    for text in args.policies:
        source = None if text.rpartition("=")[2] in ("reference", "baseline") else parse_source(text)
        if source is None or source.endpoint is not None:
            continue
        check_model_path(source.model, key="policies")
        if (found := training_of(source.model)) is not None:
            trainings[text] = replace(found, tasks=_ids(found.tasks))
    settings = args.settings(list(trainings.values()))
    limits = {training.program_time_limit_s for training in trainings.values()}
    if args.program_time_limit_s is None and len(limits) > 1:
        shown = ", ".join("that of the task" if limit is None else f"{limit:g}" for limit in limits)
        raise ConfigError(
            f"The policies were trained with different `program_time_limit_s`: {shown}. Give `program_time_limit_s`."
        )
    limit_s = args.program_time_limit_s or next(iter(limits), None)
    loaded = {name: load_task(name) for name in args.tasks}
    tasks = with_time_limit(loaded, limit_s)
    check_task_ids(tasks)
    if args.validate_tasks:
        validate_tasks(args, tasks)
    sandbox = make_sandbox(args.sandbox_backend, args.backend_config(list(tasks.values())), args.pool_config())
    scorer = ProgramScorer(sandbox, make_instrumenter(args.instrumentation_config()), args.reward_config())
    stopped = 0
    try:
        asyncio.run(
            evaluate_async(
                args.candidates(trainings),
                list(tasks.values()),
                out=out,
                scorer=scorer,
                train_tasks=args.train_tasks,
                compare_to=args.compare_to,
                episode=args.episode_budget(),
                show_public_score=args.agent_public_score,
                own_limits_s={task.id: task.time_limit_s for task in loaded.values()},
                progress=EvaluationProgress(),
                **asdict(settings),
            )
        )
    except KeyboardInterrupt:
        if not (out / STORE_FILE).exists():
            return 130
        print("\nInterrupted: the table so far follows. The same command goes on from here.", file=sys.stderr)
        stopped = 130
    problems = finish(out)
    return stopped or problems


def finish(out: Path) -> int:
    """Write table, samples and picture of the evaluation in `out`, and show the table. Returns 1 if samples are missing."""
    from rich.console import Console

    from trl_mle.evaluation.table import read_table, write_samples
    from trl_mle.reports.evaluation_plot import plot_evaluation
    from trl_mle.reports.evaluation_tables import show_evaluation

    console = Console()
    table = read_table(out)
    show_evaluation(table, console)  # first: it needs no room on a disk
    try:
        files = [table.write(out), write_samples(out, out)]
        try:
            plot_evaluation(table, out / "evaluation.png")
            files.append(out / "evaluation.png")
        except UserError as error:  # matplotlib is optional, and the rest needs no picture
            console.print(f"No picture: {error}", markup=False)
    except OSError as error:
        raise ConfigError(
            f"The files of the evaluation cannot be written into {out}: {error.strerror or error}. Its samples are kept; "
            f"`trl-mle evaluate --show {out}` writes the files."
        ) from error
    console.print("Files:", style="bold")
    for path in files:
        console.print(f"  {path}", soft_wrap=True, highlight=False)
    return 1 if table.problems else 0


def _ids(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Ids of a run's tasks; a name that cannot be loaded any more stands for itself."""
    from trl_mle.errors import TaskError
    from trl_mle.tasks import load_task

    def id_of(name: str) -> str:
        try:
            return load_task(name).id
        except TaskError:
            return name

    return None if names is None else tuple(map(id_of, names))


if __name__ == "__main__":
    sys.exit(main())
