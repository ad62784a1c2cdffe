"""Programs that run while the policy generates and learns: the part of the trainer that `overlap_execution` turns on."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather, gather_object
from torch import nn

from trl_mle.errors import ConfigError
from trl_mle.training.distributed import raise_together, raised_on_all
from trl_mle.training.overlap import checkpoint
from trl_mle.training.overlap.choosing import Choice, choose_groups, choose_groups_in_order, choose_groups_with_loss
from trl_mle.training.overlap.in_flight import Group, GroupKey, Row, collect
from trl_mle.training.overlap.log_probabilities import completion_logps, padded
from trl_mle.training.overlap.records import batch_columns, dropped_record
from trl_mle.training.overlap.row_runner import RowRunner
from trl_mle.training.overlap.stragglers import Stragglers
from trl_mle.training.overlap.timing import OverlapTiming
from trl_mle.training.overlap.unscored import warn_of_unscored
from trl_mle.training.resume.writing import disk_errors

logger = logging.getLogger(__name__)


class OverlapExecution:
    """Decides which completions are trained on next, while the programs of others still run.

    It trains on groups whose programs have finished, from the batch that was just generated or an earlier one. No program is
    lost for being slow: a group that would become too old is waited for, unless `late_programs` is `"lose"`. Each completion
    keeps the log-probabilities of the policy that wrote it, so that the importance ratio of the loss is right however late the
    completion comes. What is trained on, in which order and at which age follows from values that all processes know, see
    [`choose_groups`].

    Reward functions are called in the background with one completion at a time. The first update of a run generates
    `overlap_batches + 1` batches, all from its own prompts.

    Args:
        trainer ([`DurationAwareTrainer`]):
            The trainer that it is a part of. Its policy generates, and its log takes the columns and metrics.
        keep_lost (callable):
            Is given the records of completions that are never trained on; the same records on every process.
        timing ([`OverlapTiming`]):
            Intervals and limits of the waiting.
    """

    def __init__(self, trainer: Any, keep_lost: Callable[[list[dict[str, Any]]], None], timing: OverlapTiming):
        self._trainer = trainer
        self._keep_lost = keep_lost
        self._timing = timing
        self.batch: list[Row] | None = None
        """This process's completions that are being trained on; `None` outside of [`next_batch`]."""
        self.generations = 0
        """Generation batches so far."""
        self._replays = False
        self._rows: dict[tuple[GroupKey, int], Row] = {}  # this process's completions that are alive
        self._groups: dict[GroupKey, Group] = {}  # all groups that are alive; the same on every process
        self._extra_names: set[str] = set()  # columns that any reward function has reported on any process
        for present, name in (
            (trainer.tools or trainer.environment_factories, "tools or environments"),
            (any(isinstance(func, nn.Module) for func in trainer.reward_funcs), "a reward model"),
            (trainer._is_vlm, "images"),
        ):
            if present:
                raise ConfigError(f"`overlap_execution` does not work with {name}. Set `overlap_execution=False`.")
        self.runner = RowRunner(trainer, timing)
        self._stragglers = Stragglers(Path(str(trainer.args.output_dir)), trainer.accelerator.process_index)
        self._choose = choose_groups if trainer.args.late_programs == "wait" else choose_groups_with_loss
        if trainer.args.overlap_order == "launched":
            self._choose = choose_groups_in_order

    # What TRL's methods ask while they work on a batch

    @contextmanager
    def next_batch(self, inputs: list[dict[str, Any]]) -> Iterator[list[Row]]:
        """This process's rows of the next batch. Within it, the other methods of this section answer for these rows."""
        trainer = self._trainer
        self.batch = self._next_rows(inputs)
        # TRL computes old log-probabilities if updates and generation are not aligned, or if vLLM generates. Its call is
        # answered from the rows, since the present policy is not the one that wrote them.
        micro_steps = (trainer.args.steps_per_generation or 1) * trainer.num_iterations
        self._replays = trainer.args.gradient_accumulation_steps % micro_steps != 0 or (
            trainer.use_vllm and trainer.vllm_importance_sampling_correction
        )
        try:
            yield self.batch
        finally:
            self.batch = None

    def completions(self) -> tuple:
        """What `GRPOTrainer._generate` returns, for completions that were generated earlier."""
        assert self.batch is not None
        rows = self.batch
        tool_mask = None if rows[0].tool_mask is None else [row.tool_mask for row in rows]
        logps = None if rows[0].sampling_logps is None else [row.sampling_logps for row in rows]
        ids = [row.prompt_ids for row in rows], [row.completion_ids for row in rows]
        return *ids, tool_mask, [row.completion for row in rows], logps, {}, None, []

    def replayed_logps(self, length: int) -> torch.Tensor | None:
        """Log-probabilities for TRL's first call within a batch, shape `(b, length)`; `None` for all other calls."""
        if self.batch is None or not self._replays:
            return None
        # TRL's next call is for the reference model, which has to be computed.
        self._replays = False
        return self.old_logps(length)

    def old_logps(self, length: int) -> torch.Tensor:
        """Log-probabilities under the policies that wrote the tokens, shape `(b, length)`, 0 where there is no token."""
        assert self.batch is not None
        return padded([row.old_logps for row in self.batch], length).to(self._trainer.accelerator.device)

    def rewards(self) -> torch.Tensor:
        """Rewards of the global batch, shape `(B, F)`, NaN where there is none. Logs the columns and metrics of the rows."""
        assert self.batch is not None
        trainer, rows = self._trainer, self.batch
        step, clock = trainer.state.global_step, trainer.args.duration_column
        for name, values in batch_columns(rows, self._extra_names, step, clock).items():
            trainer._log_completion_extra(name, values)
        for row in rows:
            for name, values in row.metrics.items():
                for value in values:
                    trainer._log_metric(name, value)
        names = trainer.reward_func_names
        rewards = [[math.nan if reward is None else reward for reward in row.rewards_for(names)] for row in rows]
        warn_of_unscored(rows, rewards)
        return gather(torch.tensor(rewards, dtype=torch.float32, device=trainer.accelerator.device))

    # Choosing, launching and collecting

    def _next_rows(self, inputs: list[dict[str, Any]]) -> list[Row]:
        """Launch the batches that are missing, then wait until enough groups have finished."""
        began, warn_after_s = time.monotonic(), self._timing.wait_warning_s
        args, step = self._trainer.args, self._trainer.state.global_step
        need = Counter(self._layouts(len(inputs)))
        while True:
            self._exchange()
            choice = self._choose(self._groups, need, step, args.max_staleness, args.steps_per_batch)
            self._drop(choice.drop, "too stale")
            alive = Counter(group.layout for group in self._groups.values())
            # Launching comes before training on what is there, so that programs run during the update as well.
            if any(alive[layout] < (args.overlap_batches + 1) * count for layout, count in need.items()):
                self._launch(inputs)
            elif choice.train:
                break
            else:
                time.sleep(self._timing.poll_s)
                waited_s = time.monotonic() - began
                if waited_s > warn_after_s:
                    warn_after_s *= 2
                    self._warn_of_waiting(waited_s)
        rows = self._take(choice, len(inputs))
        self._log_metrics(choice, time.monotonic() - began)
        for key in choice.train:
            del self._groups[key]
        return rows

    def _layouts(self, local_rows: int) -> list[tuple[int, ...]]:
        """The process of each row, for every group of a generation batch."""
        processes = [process for process in range(self._trainer.accelerator.num_processes) for _ in range(local_rows)]
        size = self._trainer.num_generations
        return [tuple(processes[first : first + size]) for first in range(0, len(processes), size)]

    def _launch(self, inputs: list[dict[str, Any]]) -> None:
        """Generate a completion for each of `inputs` and start its program."""
        trainer = self._trainer
        inputs = trainer.parts.before_generation(inputs)
        # `batch` is None here, so the trainer really generates.
        prompt_ids, completion_ids, tool_mask, completions, logps, extra, _, _ = trainer._generate(
            [example["prompt"] for example in inputs]
        )
        # The policy changes before most of these completions are trained on, so its log-probabilities are taken now.
        old_logps = completion_logps(trainer, prompt_ids, completion_ids)
        generation, self.generations = self.generations, self.generations + 1
        first = trainer.accelerator.process_index * len(inputs)
        for index, example in enumerate(inputs):
            fields = {
                name: values[index] if isinstance(values, list) else values
                for name, values in extra.items()
                if not isinstance(values, list) or index < len(values)
            }
            row = Row(
                group=(generation, (first + index) // trainer.num_generations),
                position=first + index,
                generated_at=trainer.state.global_step,
                inputs={**example, **fields},
                prompt_ids=list(prompt_ids[index]),
                completion_ids=list(completion_ids[index]),
                completion=completions[index],
                tool_mask=None if tool_mask is None else list(tool_mask[index]),
                sampling_logps=None if logps is None else list(logps[index]),
                old_logps=old_logps[index],
            )
            self._rows[row.group, row.position] = row
            self._start(row)
        for place, layout in enumerate(self._layouts(len(inputs))):
            self._groups[generation, place] = Group(layout, trainer.state.global_step)

    def _start(self, row: Row) -> None:
        row.limit_s = self._stragglers.limit(row)
        if row.limit_s == 0.0:
            row.future = Future()  # it never starts, and is given up at the next look
        else:
            self.runner.start(row, self._trainer.state)

    def _exchange(self) -> None:
        """Share which rows have finished, and errors. Afterwards every process knows the same."""
        error, finished = None, []
        names: set[str] = set()
        given_up = []
        for row in self._rows.values():
            running = row.future is not None
            if row.give_up_if_due():
                given_up.append(row)
            try:
                # A row that finished earlier has been shared already.
                if collect(row) and running:
                    finished.append((row.group, row.position))
                    names.update(row.columns, row.uneven)
            except Exception as raised:
                error = raised
                break
        raise_together(error)
        self._stragglers.give_up(given_up)
        self._stragglers.forget(self._rows[place] for place in finished)
        self._share(finished, names, len(given_up))

    def _share(self, finished: list[tuple[GroupKey, int]], names: set[str], given_up: int = 0) -> None:
        for everyones_finished, everyones_names, count in gather_object([(finished, names, given_up)]):
            self._extra_names |= everyones_names
            if count:
                self._trainer._metrics["train"]["overlap/given_up_rows"].append(float(count))
            for key, position in everyones_finished:
                self._groups[key].finished.add(position)

    def _take(self, choice: Choice, local_rows: int) -> list[Row]:
        """This process's rows of the chosen groups. A group takes the place of one with the same layout."""
        waiting: dict[tuple[int, ...], list[GroupKey]] = {}
        for key in choice.train:
            waiting.setdefault(self._groups[key].layout, []).append(key)
        rows = []
        for layout in self._layouts(local_rows):
            rows.extend(self._remove(waiting[layout].pop(0)))
        return rows

    def _remove(self, key: GroupKey) -> list[Row]:
        """Remove this process's rows of a group from those alive. Programs that still run are stopped."""
        positions = sorted(position for group, position in self._rows if group == key)
        rows = [self._rows.pop((key, position)) for position in positions]
        for row in rows:
            # What counts is what all processes know: a row that has finished since then is given up as well.
            if row.position not in self._groups[key].finished:
                row.stop()
        return rows

    def _drop(self, keys: Sequence[GroupKey], reason: str) -> None:
        """Give up groups, and record them."""
        # All processes have the same keys, so none of them waits below for another.
        if not keys:
            return
        dropped = [row for key in keys for row in self._remove(key)]
        for key in keys:
            del self._groups[key]
        step, names = self._trainer.state.global_step, self._trainer.reward_func_names
        records = [dropped_record(row, reason, self._extra_names, names, step) for row in dropped]
        all_records = [record for part in gather_object([records]) for record in part]
        self._trainer._metrics["train"]["overlap/dropped_rows"].append(float(len(all_records)))
        self._keep_lost(all_records)

    def _log_metrics(self, choice: Choice, wait_s: float) -> None:
        groups = [self._groups[key] for key in choice.train]
        metrics = self._trainer._metrics["train"]
        ages = [self._trainer.state.global_step - group.generated_at for group in groups]
        metrics["overlap/wait_s"].append(wait_s)
        metrics["overlap/staleness_mean"].append(sum(ages) / len(ages))
        metrics["overlap/staleness_max"].append(float(max(ages)))
        rows = sum(len(group.layout) for group in groups)
        metrics["overlap/lost_share"].append(1 - sum(len(group.finished) for group in groups) / rows)
        metrics["overlap/in_flight"].append(float(self._running()))

    def _running(self) -> int:
        return sum(len(group.layout) - len(group.finished) for group in self._groups.values())

    def _warn_of_waiting(self, wait_s: float) -> None:
        # Age is counted in optimizer steps, and none is made while the run waits: no group ever becomes too old.
        running, args = self._running(), self._trainer.args
        if self._trainer.accelerator.is_main_process:
            logger.warning(
                "Training has waited %.0f s for its next batch: %d programs of the %d groups in flight still run. Give programs a "
                "time limit, or raise `overlap_batches` (%d) and `max_staleness` (%d).",
                wait_s,
                running,
                len(self._groups),
                args.overlap_batches,
                args.max_staleness,
            )
        self._stragglers.note(self._rows.values(), self._trainer.reward_funcs, self._timing.wait_warning_s)

    # The life of a run

    @contextmanager
    def during_training(self) -> Iterator[None]:
        """When training ends, record what is in flight, and stop its programs whether training succeeded or failed."""
        try:
            yield
            self._drop(tuple(self._groups), "training ended")
            self._stragglers.end()
        finally:
            for row in self._rows.values():
                row.stop()
            self._rows, self._groups = {}, {}
            self.runner.drain()

    def save(self, folder: Path) -> None:
        """Write what is in flight into the folder of a checkpoint; to be called by all processes."""
        # Results that came in since the last look are saved as results, so that no program runs twice for nothing.
        self._exchange()
        with raised_on_all(), disk_errors(folder):
            checkpoint.save(folder, self._trainer.accelerator, self.generations, self._groups, self._rows.values())

    def resume(self, folder: Path) -> None:
        """Continue with the completions of a checkpoint. Programs that have no result yet start again, within the limit of those
        that the run stood still for."""
        self._stragglers.resume()
        state = checkpoint.load(folder, self._trainer.accelerator)
        if state is None:
            return
        self.generations, self._groups, rows = state
        self._rows = {(row.group, row.position): row for row in rows}
        finished = [(row.group, row.position) for row in rows if row.rewards is not None or row.given_up]
        self._share(finished, {name for row in rows for name in (*row.columns, *row.uneven)})
        for row in rows:
            if row.rewards is None and not row.given_up:
                self._start(row)
        logger.warning(
            "Resumed with %d completions in flight: %d have a result, the programs of %d are started again.",
            len(rows),
            len(finished),
            len(rows) - len(finished),
        )
