"""What a tool answers: facts about the run, then as much of its output as the budget of characters has room for.

The output is text of a program. It is cleaned, cut and escaped, so that it neither opens a turn of the chat nor looks like a
fact. The score on the answers is no part of an observation unless the user asks for it: with it, an agent could climb on the
public part of the answers by trial and error, without a validation of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from trl_mle.config import EpisodeBudget
from trl_mle.environments.running import RunningEpisode
from trl_mle.prompts.earlier import failure_sentence, reported_metrics, rounded_seconds
from trl_mle.prompts.quoting import (
    clean_output,
    escape_tokens,
    fenced,
    keep_end,
    keep_ends,
    own_traceback,
    without_marks,
)
from trl_mle.prompts.table_summary import MAX_NAME, clean
from trl_mle.types import Execution, Outcome

REFUSALS = {
    "submitted": "The task has ended: a submission was taken. Nothing was run.",
    "fault": "The task has ended because of a fault of the machine. Nothing was run.",
    "runs": "No program is left to run. Nothing was run.",
    "seconds": "No time is left to run a program. Nothing was run.",
    "not_text": "Nothing was run: `code` must be a string that holds a complete Python program.",
    "empty_completion": "Nothing was run: `code` is empty.",
    "too_long": "Nothing was run: `code` is too long.",
    "too_complex": "Nothing was run: `code` cannot be read.",
    "undecodable": "Nothing was run: `code` holds a character that no program can have.",
}
"""By why a call did nothing: what the tool answers."""
NOT_SUBMITTED = "No program has made a valid submission, so there is nothing to submit."
SUBMITTED = "The submission of program {run} was taken. The task has ended."
FAULT = "The program could not be run because of a fault of the machine. The task has ended."

SHOWN_FILES = 5
"""Names of kept files that an observation has."""


@dataclass(frozen=True)
class Observer:
    """Writes observations.

    Args:
        budget ([`EpisodeBudget`]):
            Longest observation.
        show_public_score (`bool`):
            Whether an observation has the score of a valid submission on the public part of the answers.
        special_tokens (`tuple[str, ...]`):
            Special tokens of the policy's tokenizer.
    """

    budget: EpisodeBudget
    show_public_score: bool = False
    special_tokens: tuple[str, ...] = ()

    def refused(self, reason: str, episode: RunningEpisode) -> str:
        """The answer to a call that did nothing."""
        text = REFUSALS.get(reason, "Nothing was run.")
        return text if episode.end is not None else f"{text}\n{_what_is_left(episode)}"

    def run(self, outcome: Outcome, episode: RunningEpisode, limit_s: float) -> str:
        """The answer to a call that ran a program.

        Args:
            outcome ([`Outcome`]):
                Outcome of the program.
            episode ([`RunningEpisode`]):
                The episode after it.
            limit_s (`float`):
                Seconds that the program could run.
        """
        if outcome.kind == "fault":
            return FAULT
        limit = self.budget.observation_characters
        facts = self._within(limit, [*self._facts(outcome, episode, limit_s), _what_is_left(episode)])
        texts, room = _outputs(outcome, limit), limit
        # Escapes lengthen a text by a factor that is only known afterwards.
        for _ in range(4):
            room = min(room, limit - len(facts))
            text = self._escaped("\n".join([facts, *_quoted(texts, room)]))
            if len(text) <= limit or room <= 0:
                break
            room = room * limit // (2 * len(text))
        else:
            text = self._escaped(facts)
        return text[:limit]

    def _facts(self, outcome: Outcome, episode: RunningEpisode, limit_s: float) -> list[str]:
        verdict = "It made a valid submission." if outcome.kind == "valid" else failure_sentence(outcome)
        facts = [f"Program {episode.run}: {verdict}"]
        if outcome.duration_s is not None:
            facts.append(f"It ran {rounded_seconds(outcome.duration_s)} s of at most {rounded_seconds(limit_s)} s.")
        if outcome.execution is not None:
            names = ", ".join(name.replace("_", " ") for name in outcome.execution.milestones)
            facts.append(f"Steps reached: {names or 'none'}.")
            facts += reported_metrics(outcome.execution)
            if episode.refusal is None:
                facts += _files(outcome.execution)
        score = outcome.public.score if outcome.public is not None else None
        if self.show_public_score and outcome.kind == "valid" and score is not None:
            facts.append(f"Its score on the hidden answers: {score:.6g}.")
        return facts

    def _within(self, limit: int, facts: list[str]) -> str:
        """`facts` in at most `limit` characters. The first one is cut, which may name what a submission holds."""
        verdict, *others = [self._escaped(fact) for fact in facts]
        return "\n".join([verdict[: max(0, limit - sum(len(fact) + 1 for fact in others))], *others])

    def _escaped(self, text: str) -> str:
        return escape_tokens(without_marks(text), self.special_tokens)


def _files(execution: Execution) -> list[str]:
    """The sentence about files that the program left for the next one; empty if there are none."""
    if not execution.files and not execution.files_cut:
        return []
    names = [clean(name, MAX_NAME) for name in list(execution.files)[:SHOWN_FILES]]
    more = len(execution.files) - len(names)
    others = [f"{more} more"] if more else []
    left_out = f" {execution.files_cut} could not be kept." if execution.files_cut else ""
    return [f"Files for the next program: {', '.join([*names, *others]) or 'none'}.{left_out}"]


def _what_is_left(episode: RunningEpisode) -> str:
    programs = f"{episode.runs_left} program{'' if episode.runs_left == 1 else 's'}"
    counts = "no submission" if episode.valid_run is None else f"the submission of program {episode.valid_run}"
    return f"Left: {programs} and {rounded_seconds(episode.seconds_left)} s. So far, {counts} counts."


def _outputs(outcome: Outcome, limit: int) -> list[tuple[str, str, bool]]:
    """What is shown of the output: title, text, and whether its end alone is of interest."""
    execution = outcome.execution
    if execution is None:
        return []
    shown = []
    if outcome.kind != "valid" and execution.status == "error":
        shown.append(("The end of its error output:", own_traceback(clean_output(execution.stderr, limit)), True))
    shown.append(("It printed:", clean_output(execution.stdout, limit), False))
    return [(title, text, end) for title, text, end in shown if text]


def _quoted(texts: list[tuple[str, str, bool]], room: int) -> list[str]:
    """`texts` in blocks of at most `room` characters in all. The first one leaves at least a third to the second one."""
    lines: list[str] = []
    for number, (title, text, end_only) in enumerate(texts, start=1):
        later = sum(len(text) for _, text, _ in texts[number:])
        share = max(0, room - min(later, room // 3) - len(title) - 20)
        cut = (keep_end if end_only else keep_ends)(text, share)
        if cut:
            block = f"{title}\n{fenced(cut, 'text')}"
            lines.append(block)
            room -= len(block) + 1
    return lines
