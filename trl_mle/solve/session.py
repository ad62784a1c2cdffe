"""`solve`: one session of a search in a folder, from its files to its page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import ConfigError
from trl_mle.prompts import PromptBudget
from trl_mle.rewards.scorer import ProgramScorer
from trl_mle.solve.attempts import Attempt, AttemptLog
from trl_mle.solve.best_attempt import BestAttempt
from trl_mle.solve.budget import Deadline
from trl_mle.solve.files import own_folder
from trl_mle.solve.page import PAGE, Ending, write_page
from trl_mle.solve.problem import Problem
from trl_mle.solve.prompting import Prompting
from trl_mle.solve.reasons import commonest
from trl_mle.solve.result_files import ResultFiles
from trl_mle.solve.search import Search, SearchSettings
from trl_mle.whole_files import write_whole

if TYPE_CHECKING:
    from trl_mle.language_models.sampling import Policy

STATE = "solve.json"
PAGE_S = 20.0
"""Seconds between two versions of the page while a search goes on."""


@dataclass(frozen=True)
class Solution:
    """What a search reached."""

    out: Path
    best: Attempt | None
    """`None` if no attempt was valid."""
    attempts: int
    """Attempts of all sessions."""
    valid: int
    seconds: float
    """Seconds of search, of all sessions."""
    reason: str
    """Why the session ended."""
    failures: tuple[tuple[str, int], ...]
    """The commonest reasons of failures, with their counts."""


@dataclass(frozen=True)
class Progress:
    """A moment of a search, for whoever shows it."""

    attempts: int
    valid: int
    running: int
    best: Attempt | None
    left_s: float
    asking_s: float = 0.0
    """Seconds since the request that waits for its answer; 0 without one."""


async def solve(
    problem: Problem,
    policy: Policy,
    out: Path,
    budget_s: float,
    scorer: ProgramScorer,
    settings: SearchSettings | None = None,
    *,
    prompt_budget: PromptBudget | None = None,
    on_progress: Callable[[Progress, Attempt | None], None] = lambda progress, new_best: None,
) -> Solution:
    """Search for `budget_s` seconds and leave `solution.py`, `submission.csv` and `page.html` in `out`.

    Attempts of an earlier session in `out` count, and are built on. SIGINT and SIGTERM end the session as its budget does. A
    second one ends the process.

    Args:
        problem ([`Problem`]):
            What is to be solved.
        policy ([`Policy`]):
            Who writes the programs. The caller closes it.
        out (`Path`):
            An existing folder.
        budget_s (`float`):
            Seconds of this session, from the first prompt.
        scorer ([`ProgramScorer`]):
            Runs and grades programs. It is opened and closed here.
        settings ([`SearchSettings`], *optional*):
            How the policy is sampled.
        prompt_budget ([`PromptBudget`], *optional*):
            Most tokens of a prompt.
        on_progress (`Callable`, *optional*):
            Called after each attempt, and about once per second; the attempt is given if it has become the best.

    Raises:
        ConfigError: `out` holds the search of another task, or a setting cannot work.
        SandboxUnavailableError: programs cannot be isolated on this machine.
    """
    settings = settings or SearchSettings()
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_folder(out))
        state = _begin(out, problem, policy.model, budget_s)
        log = stack.enter_context(contextlib.closing(AttemptLog(out)))
        prompting = Prompting(
            problem.task,
            log.store,
            prompt_budget,
            improve_share=settings.improve_share,
            debug_share=settings.debug_share,
            seed=settings.seed + len(log),
        )
        best = BestAttempt(problem, scorer, log, ResultFiles(out))
        search = Search(problem, policy, scorer, log, prompting, best, settings, earlier_s=_earlier_s(state, log))
        session = _Session(search, out, state, on_progress)
        async with scorer:
            return await session.run(budget_s)


class _Session:
    """A search with what is written and shown of it."""

    def __init__(
        self,
        search: Search,
        out: Path,
        state: dict[str, Any],
        on_progress: Callable[[Progress, Attempt | None], None],
    ):
        self.search, self.log, self.out, self.state, self.on_progress = search, search.log, out, state, on_progress
        self._valid = sum(attempt.outcome.kind == "valid" for attempt in self.log)
        self._deadline = Deadline(0.0)
        self._page_due = time.monotonic() + PAGE_S
        search.on_attempt = self._note

    async def run(self, budget_s: float) -> Solution:
        """Search, write the page, and say what was reached."""
        stop = asyncio.Event()
        with _signals(stop):
            await self._restore(stop)
            self._deadline = Deadline(budget_s)
            ticking = asyncio.create_task(self._tick())
            try:
                reason = await self.search.run(self._deadline, stop)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._write_page("an error")
                raise
            finally:
                ticking.cancel()
        self._write_page(reason)
        self.state["sessions"][-1] |= {"reason": reason, "seconds": round(self._deadline.elapsed_s, 1)}
        _save(self.out, self.state)
        failures = tuple(commonest(list(self.log)))
        return Solution(
            self.out, self.search.best.attempt, len(self.log), self._valid, self._seconds, reason, failures
        )

    async def _restore(self, stop: asyncio.Event) -> None:
        """Put right what an earlier session has left undone, unless `stop` is set: then a later one does."""
        restoring = asyncio.create_task(self.search.best.restore(self.search.policy.model))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((restoring, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (restoring, stopped):
                task.cancel()
            await asyncio.gather(restoring, stopped, return_exceptions=True)
        if not restoring.cancelled() and (error := restoring.exception()) is not None:
            raise error

    def _note(self, attempt: Attempt, is_best: bool) -> None:
        self._valid += attempt.outcome.kind == "valid"
        self._show(attempt if is_best else None)
        started = time.monotonic()
        if started > self._page_due:
            self._write_page("the search goes on")
            # Of a search with thousands of attempts, a page takes seconds.
            self._page_due = time.monotonic() + max(PAGE_S, 20 * (time.monotonic() - started))

    @property
    def _seconds(self) -> float:
        """Seconds of search, of all sessions."""
        return self.search.earlier_s + self._deadline.elapsed_s

    def _show(self, new_best: Attempt | None = None) -> None:
        moment = Progress(
            len(self.log),
            self._valid,
            self.search.running,
            self.search.best.attempt,
            self._deadline.left_s,
            self.search.asking_s,
        )
        self.on_progress(moment, new_best)

    async def _tick(self) -> None:
        while True:
            self._show()
            await asyncio.sleep(1.0)

    def _write_page(self, reason: str) -> None:
        models = tuple(dict.fromkeys(str(session["model"]) for session in self.state["sessions"]))
        ending = Ending(reason, self._seconds, models)
        write_page(self.out / PAGE, self.search.problem, list(self.log), self.search.best.attempt, ending)


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`. The second signal does what it does by default."""
    loop = asyncio.get_running_loop()
    caught = (signal.SIGINT, signal.SIGTERM)

    def restore() -> None:
        for number in caught:
            loop.remove_signal_handler(number)

    def ask_to_stop() -> None:
        stop.set()
        restore()

    try:
        for number in caught:
            loop.add_signal_handler(number, ask_to_stop)
    except (ValueError, RuntimeError, NotImplementedError):  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        restore()


def _begin(out: Path, problem: Problem, model: str, budget_s: float) -> dict[str, Any]:
    """The state of the search in `out`, with a new session."""
    path = out / STATE
    state: dict[str, Any] = {"source": problem.source, "task": problem.task.id, "sessions": []}
    if path.exists():
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
            known = {"source": str(earlier["source"]), "task": str(earlier["task"])}
            sessions = [dict(session) for session in earlier["sessions"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path} is not the state of a search: {error}. Choose another folder with `--out`."
            ) from error
        if known["task"] != problem.task.id or known["source"] != problem.source:
            raise ConfigError(
                f"{out} holds a search for {known['source']}, not for {problem.source}. Choose another folder with `--out`."
            )
        state["sessions"] = sessions
    state["sessions"].append({"model": model, "budget_s": budget_s, "started": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
    _save(out, state)
    return state


def _earlier_s(state: dict[str, Any], log: AttemptLog) -> float:
    """Seconds of the earlier sessions; of one that was killed, until its newest attempt."""
    known = [session.get("seconds") for session in state["sessions"][:-1]]
    return max(log.seconds, sum(seconds for seconds in known if isinstance(seconds, int | float)))


def _save(out: Path, state: dict[str, Any]) -> None:
    write_whole(out / STATE, json.dumps(state, indent=2) + "\n")
