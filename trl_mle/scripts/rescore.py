"""Stored rollouts of a run, scored again: `trl-mle rescore RUN`.

trl-mle rescore runs/quickstart
trl-mle rescore runs/quickstart --failure_reward -5 --reward_only true --output_dir runs/quickstart-milder
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import ConfigError
from trl_mle.scripts.arguments import MLEArguments
from trl_mle.scripts.console import prepare_console
from trl_mle.scripts.user_errors import user_errors

if TYPE_CHECKING:
    from trl_mle.tasks import Task
    from trl_mle.types import Outcome

SUMMARY_FILE = "rescore.json"


@dataclass
class RescoreArguments(MLEArguments):
    """Parameters of a rescoring. What is not given is as in the run.

    Args:
        output_dir (`str`, *optional*):
            Folder of the new table, which can be reported like a run. Defaults to `rescored` in the run's folder.
        reward_only (`bool`, *optional*, defaults to `False`):
            Whether rewards are computed again from the stored scores and milestones, without running anything.
    """

    output_dir: str | None = field(
        default=None, metadata={"help": "Folder of the new table. Defaults to `rescored` in the run's folder."}
    )
    reward_only: bool = field(
        default=False, metadata={"help": "Compute rewards again from stored scores and milestones; nothing runs."}
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Rescore with settings from `arguments`, by default those of this process.

    Returns 0, 1 if outcomes are missing because of faults, or 130 if the user stopped it.
    """
    prepare_console()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with user_errors():
        if not arguments or arguments[0].startswith("-"):
            if {"-h", "--help"} & set(arguments):
                parse(None, arguments)
            raise ConfigError(
                "Give the `output_dir` of a run first: `trl-mle rescore runs/quickstart [--key value ...]`."
            )
        run_dir = Path(arguments[0])
        return rescore(run_dir, parse(run_dir, arguments[1:]))


def parse(run_dir: Path | None, arguments: Sequence[str]) -> RescoreArguments:
    """Settings of the run, and flags, which win.

    Raises:
        ConfigError: the run has no settings.
    """
    from trl_mle.evaluation.run_files import read_settings
    from trl_mle.scripts.settings import parse_arguments
    from trl_mle.yaml_values import dump

    of_run = read_settings(run_dir).get("mle") if run_dir is not None else None
    if run_dir is not None and not isinstance(of_run, Mapping):
        raise ConfigError(f"{run_dir} has no config.yaml of a run. Give the `output_dir` of a run.")
    known = {item.name for item in fields(MLEArguments)}
    settings = {key: value for key, value in (of_run or {}).items() if key in known and value is not None}
    # As a file, so that each value is read and checked as in a recipe.
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file, user_errors(parsing=True):
        file.write(dump(settings))
        file.flush()
        config = ["--config", file.name] if settings else []
        (parsed,) = parse_arguments("rescore", (RescoreArguments,), [*config, *arguments])
    return parsed


def rescore(run_dir: Path, args: RescoreArguments) -> int:
    """Score the rollouts of `run_dir` again, write the new table beside it, and show what has changed."""
    from rich.console import Console

    from trl_mle.evaluation.rescore import changes, completion_text, scorable_rows, with_new_reward
    from trl_mle.evaluation.run_files import CONFIG_FILE, read_settings
    from trl_mle.outcomes import from_row, read_rollouts
    from trl_mle.prompts.quoting import clean_output
    from trl_mle.reports.rescore_tables import show_changes
    from trl_mle.scripts.build import with_time_limit
    from trl_mle.scripts.checks import check_output_dir, check_task_ids
    from trl_mle.tasks import load_task
    from trl_mle.whole_files import write_whole
    from trl_mle.yaml_values import dump

    out = Path(args.output_dir) if args.output_dir is not None else run_dir / "rescored"
    check_output_dir(str(out))
    if out.resolve() == run_dir.resolve():
        raise ConfigError(
            f"`output_dir` is {str(out)!r}, the run itself, which is never overwritten. Give another folder."
        )
    loaded = with_time_limit({name: load_task(name) for name in args.tasks}, args.program_time_limit_s)
    check_task_ids(loaded)
    tasks = {task.id: task for task in loaded.values()}
    if (out / "rollouts").exists() and not (out / SUMMARY_FILE).exists():
        raise ConfigError(f"`output_dir` is {str(out)!r}, which holds the rollouts of a run. Give another folder.")
    rollouts = read_rollouts(run_dir)
    problems: dict[str, str] = {}
    if args.reward_only:
        rows = rollouts[rollouts["kind"].notna()]
        _check_tasks(rows, tasks)

        def outcome_of(row: Mapping[str, Any]) -> Outcome | None:
            return with_new_reward(row, tasks[row["task_id"]], args.reward_config())
    else:
        rows = scorable_rows(rollouts)
        outcomes, problems = _score(rows, tasks, args, out)

        def outcome_of(row: Mapping[str, Any]) -> Outcome | None:
            return outcomes.get((row["task_id"], completion_text(row["completion"])))

    pairs = [(from_row(row), new) for row in rows.to_dict("records") if (new := outcome_of(row)) is not None]
    found = changes([before for before, _ in pairs], [after for _, after in pairs])
    out.mkdir(parents=True, exist_ok=True)
    # First: it marks the folder as one that a later call may write into.
    write_whole(out / SUMMARY_FILE, json.dumps(asdict(found) | {"problems": problems}, indent=2) + "\n")
    _write_rollouts(run_dir, out, outcome_of)
    content = read_settings(run_dir)
    content["mle"] = {**content["mle"], **{key: value for key, value in asdict(args).items() if key in content["mle"]}}
    write_whole(out / CONFIG_FILE, dump(content))
    console = Console()
    show_changes(found, console)
    for task_id, problem in problems.items():
        console.print(clean_output(f"{task_id}: {problem}."), markup=False, style="bold", soft_wrap=True)
    console.print(f"New table: {out}/rollouts. `trl-mle report {out}` shows it.", markup=False, soft_wrap=True)
    return 1 if problems or any(after.kind == "fault" for _, after in pairs) else 0


def _score(rows: Any, tasks: Mapping[str, Task], args: RescoreArguments, out: Path) -> tuple[Any, dict[str, str]]:
    import asyncio

    from trl_mle.evaluation.rescore import rescore_async
    from trl_mle.evaluation.sample_store import SampleStore
    from trl_mle.rewards import ProgramScorer
    from trl_mle.sandboxes.backends import make_sandbox
    from trl_mle.scripts.build import make_instrumenter
    from trl_mle.scripts.evaluation_progress import EvaluationProgress

    sandbox = make_sandbox(args.sandbox_backend, args.backend_config(list(tasks.values())), args.pool_config())
    scorer = ProgramScorer(sandbox, make_instrumenter(args.instrumentation_config()), args.reward_config())
    settings = {"reward": asdict(args.reward_config()), "instrumentation": asdict(args.instrumentation_config())}
    with SampleStore(out) as store:
        try:
            return asyncio.run(
                rescore_async(rows, tasks, scorer, store, settings=settings, progress=EvaluationProgress())
            )
        except KeyboardInterrupt:
            print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
            raise SystemExit(130) from None


def _check_tasks(rows: Any, tasks: Mapping[str, Task]) -> None:
    if unknown := set(rows["task_id"]) - set(tasks):
        raise ConfigError(
            f"The rollouts have the task {min(unknown)!r}, which is none of {list(tasks)}. Give it by `tasks`."
        )


def _write_rollouts(run_dir: Path, out: Path, outcome_of: Callable[[Mapping[str, Any]], Outcome | None]) -> None:
    """The files of the run's training rollouts with new outcomes. Columns of the trainer, such as advantages, stay."""
    import pyarrow
    from pyarrow import parquet

    from trl_mle.outcomes import to_row
    from trl_mle.training.rollout_schema import RolloutSchema, as_column, write_table

    folder = out / "rollouts"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(
        "*.parquet"
    ):  # of an earlier, interrupted call: they hold nothing that is not written again
        path.unlink()
    schema = RolloutSchema(folder)
    for path in sorted((run_dir / "rollouts").glob("train_*.parquet")):
        with path.open("rb") as file:
            table = parquet.read_table(file)
        rows = table.to_pylist()
        for row in rows:
            outcome = outcome_of(row) if row.get("kind") else None
            if outcome is not None:
                row.update(to_row(outcome))
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: as_column([row.get(name) for row in rows]) for name in names}
        write_table(schema.fit(pyarrow.table(columns)), folder / path.name)


if __name__ == "__main__":
    sys.exit(main())
