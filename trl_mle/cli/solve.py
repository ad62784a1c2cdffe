"""`trl-mle solve`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from trl_mle.cli.solve_display import Display, show_solution

if TYPE_CHECKING:
    from trl_mle.language_models.sampling import Policy
    from trl_mle.prompts import PromptBudget
    from trl_mle.solve import Problem, SearchSettings, Solution

DEFAULT_TOKENS = 2048
"""Longest completion, in tokens."""
CHARACTERS_PER_TOKEN = 3
"""Characters of a token of code, where the tokenizer is not at hand. Rather too few, so that prompts rather fit."""
LEAST_TIMEOUT_S = 600.0
"""Least time limit of a request to an endpoint, in seconds."""


def solve(
    source: Annotated[
        str, typer.Argument(help="Task name, task folder, or Kaggle folder with train.csv and test.csv.")
    ],
    model: Annotated[str, typer.Option(help="Folder or hub id of a model, or its name at the endpoint.")],
    budget: Annotated[str, typer.Option(help="Time from the first prompt on, such as 30m or 1h30m.")] = "30m",
    endpoint: Annotated[
        str | None, typer.Option(help="OpenAI-compatible URL, such as http://127.0.0.1:8000/v1.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the result; one with earlier attempts goes on.")] = None,
    attempts: Annotated[int | None, typer.Option(help="Most attempts, earlier ones included.", min=1)] = None,
    temperature: Annotated[float, typer.Option(help="Temperature of sampling.", min=0.0)] = 1.0,
    top_p: Annotated[float, typer.Option(help="Share of the probability that is sampled from.")] = 1.0,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest completion, in tokens; 2048, or half of a small context.", min=1)
    ] = None,
    max_prompt_tokens: Annotated[int, typer.Option(help="Longest prompt, in tokens.", min=1)] = 8192,
    samples_per_prompt: Annotated[int, typer.Option(help="Completions of one prompt.", min=1)] = 4,
    improve_share: Annotated[float, typer.Option(help="Share of prompts that show a valid program.")] = 0.6,
    debug_share: Annotated[float, typer.Option(help="Share of prompts that show a program that failed.")] = 0.1,
    time_limit: Annotated[float | None, typer.Option(help="Seconds per program; the task's by default.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Programs at the same time; all cores by default.", min=1)
    ] = None,
    isolation: Annotated[str, typer.Option(help="'required', or 'none' if you trust the programs.")] = "required",
    seed: Annotated[int, typer.Option(help="Seed of samples and prompts.")] = 0,
    target: Annotated[list[str] | None, typer.Option(help="Kaggle folder: column to predict.")] = None,
    metric: Annotated[str | None, typer.Option(help="Kaggle folder: such as roc_auc or rmse.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Kaggle folder: column to leave out.")] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="Kaggle folder: feature to keep although it looks odd.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Kaggle folder: random, group:COLUMN or time:COLUMN.")] = None,
    splits: Annotated[
        int, typer.Option(help="Kaggle folder: divisions of its rows whose mean score decides.", min=1)
    ] = 1,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Kaggle folder: take what is proposed.")] = False,
) -> None:
    """Sample and improve programs until the budget is over; keep the best one.

    Writes solution.py, submission.csv and page.html. Ctrl-C ends the search and keeps the best so far.

    Exit code 0 if there is a solution, 1 if no program was valid.
    """
    from trl_mle.scripts.console import hide_bars, prepare_console
    from trl_mle.solve import SearchSettings, open_problem, parse_budget

    prepare_console()
    _check(model, endpoint, time_limit)
    if endpoint is None:
        hide_bars()  # of loading a model
    console = Console()
    budget_s = parse_budget(budget)
    settings = SearchSettings(
        temperature=temperature,
        top_p=top_p,
        samples_per_prompt=samples_per_prompt,
        attempts=attempts,
        improve_share=improve_share,
        debug_share=debug_share,
        seed=seed,
    )
    with _folder(out, source) as folder:
        options = _options(source, folder, target, metric, drop, keep, split, yes, console)
        problem = open_problem(source, folder, options, time_limit, splits)
    result = asyncio.run(
        _solve(
            problem,
            (model, endpoint),
            folder,
            budget_s,
            settings,
            (max_tokens, max_prompt_tokens),
            (workers, isolation),
            console,
        )
    )
    show_solution(result, problem.task, console)
    raise typer.Exit(0 if result.best is not None else 1)


def _check(model: str, endpoint: str | None, time_limit: float | None) -> None:
    """Raise `ConfigError` if the model is a local path without one, or if the limit of programs is no time."""
    from trl_mle.errors import ConfigError
    from trl_mle.language_models.sampling import parse_source
    from trl_mle.scripts.checks import check_model_path
    from trl_mle.types import LONGEST_S

    if endpoint is None and (policy := parse_source(model)).endpoint is None:
        check_model_path(policy.model, key="--model")
    if time_limit is not None and not 0 < time_limit <= LONGEST_S:
        raise ConfigError(
            f"`--time-limit` is {time_limit:g}; it must be a positive number of seconds, at most a year."
        )


@contextmanager
def _folder(out: Path | None, source: str) -> Iterator[Path]:
    """The folder of the search. If the block fails before anything is in a new one, it is removed."""
    from trl_mle.errors import ConfigError, UserError

    name = Path(source).name or "task"
    folder = (out or Path(f"solve-{name.replace(':', '-')}")).expanduser()
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be made ({error.strerror}); choose another folder with `--out`."
        ) from error
    try:
        yield folder
    except UserError:
        if is_new:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        raise


def _options(
    source: str,
    out: Path,
    target: list[str] | None,
    metric: str | None,
    drop: list[str] | None,
    keep: list[str] | None,
    split: str | None,
    yes: bool,
    console: Console,
) -> dict[str, Any] | None:
    """What a Kaggle folder leaves open, from the flags, from an earlier session, or asked on a terminal."""
    from trl_mle.cli.tasks.create_dialog import settle
    from trl_mle.solve import is_kaggle_folder
    from trl_mle.solve.problem import check_tables, read_options, save_options

    if not is_kaggle_folder(source):
        return None
    given: dict[str, Any] = {
        "target": tuple(target or ()),
        "metric": metric,
        "drop": tuple(drop or ()),
        "keep": tuple(keep or ()),
        "split": split,
    }
    check_tables(source)
    earlier = read_options(out, given)
    if earlier is not None:
        return earlier
    settled = settle(source, given | {"sep": None, "encoding": None}, yes, console)
    save_options(out, settled, given)
    return settled


async def _solve(
    problem: Problem,
    model: tuple[str, str | None],
    out: Path,
    budget_s: float,
    settings: SearchSettings,
    tokens: tuple[int | None, int],
    sandbox: tuple[int | None, str],
    console: Console,
) -> Solution:
    from trl_mle.config import PoolConfig, SandboxConfig
    from trl_mle.language_models.sampling import open_policy
    from trl_mle.rewards import ProgramScorer
    from trl_mle.sandboxes import LocalSandbox, SandboxPool
    from trl_mle.solve import solve as search

    workers, isolation = sandbox
    local = LocalSandbox(SandboxConfig(workers=workers, isolation=isolation))  # type: ignore[arg-type]  # checked there
    scorer = ProgramScorer(SandboxPool(local, PoolConfig(progress="off")))
    policy = open_policy(model[0], endpoint=model[1], **endpoint_options(*model, tokens[0] or DEFAULT_TOKENS))
    settings = replace(settings, max_tokens=tokens[0] or completion_tokens(policy))
    budget = prompt_budget(policy, tokens[1], settings.max_tokens)
    try:
        with Display(problem.task, budget_s, console) as display:
            return await search(
                problem,
                policy,
                out,
                budget_s,
                scorer,
                settings,
                prompt_budget=budget,
                on_progress=display.update,
            )
    finally:
        await policy.aclose()


def endpoint_options(model: str, endpoint: str | None, max_tokens: int) -> dict[str, Any]:
    """Settings of a policy behind an endpoint: a request has a second per token, as a model on a CPU needs."""
    from trl_mle.language_models.sampling import parse_source

    if endpoint is None and parse_source(model).endpoint is None:
        return {}
    return {"timeout_s": max(LEAST_TIMEOUT_S, float(max_tokens))}


def completion_tokens(policy: Policy) -> int:
    """The longest completion by default: 2048 tokens, or half of the context if that is less."""
    return min(DEFAULT_TOKENS, (getattr(policy, "context_tokens", None) or 2 * DEFAULT_TOKENS) // 2)


def prompt_budget(policy: Policy, most: int, max_tokens: int) -> PromptBudget:
    """The longest prompt: `most`, or what the model's context leaves beside a completion of `max_tokens`.

    Raises:
        ConfigError: the context has no room for such a completion.
    """
    from trl_mle.errors import ConfigError
    from trl_mle.prompts import PromptBudget

    context = getattr(policy, "context_tokens", None)
    if context is not None:
        if context - max_tokens < 1:
            raise ConfigError(
                f"`--max-tokens` is {max_tokens}, and the context of {policy.model!r} has {context} tokens. Give fewer, such as "
                f"{context // 2}."
            )
        most = min(most, context - max_tokens)

    def count(messages: list[dict[str, str]]) -> int:
        known = policy.count_tokens(messages)
        return sum(len(message["content"]) for message in messages) // CHARACTERS_PER_TOKEN if known is None else known

    return PromptBudget(most, count, tuple(getattr(policy, "special_tokens", ())))
