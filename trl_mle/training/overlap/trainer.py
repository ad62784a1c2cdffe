"""Programs that run while the policy generates and learns, for GRPO on any hardware."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather, gather_object
from torch import nn
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import pad

from trl_mle.errors import ConfigError
from trl_mle.training.config import DurationAwareConfig
from trl_mle.training.distributed import raise_together
from trl_mle.training.overlap.in_flight import Choice, Group, GroupKey, Row, RowRunner, choose_groups, collect
from trl_mle.training.phases import TimedTrainer
from trl_mle.training.weighting.actions import SECONDS_COLUMN

logger = logging.getLogger(__name__)

POLL_S = 0.02
"""Seconds between two looks at the running programs."""
WAIT_WARNING_S = 120.0
"""Seconds without a batch that can be trained on after which a run says what it waits for; then after twice as many."""


class OverlappingTrainer(TimedTrainer):
    """`trl.GRPOTrainer` whose only change is that, with `overlap_execution`, it does not wait for the programs of the batch
    that it has just generated: it trains on groups whose programs are through, from this batch or earlier ones.

    Each completion keeps the log-probabilities of the policy that wrote it, so that the importance ratio of the loss is
    right however late it comes. What is trained on, in which order and how old is decided from what all processes know,
    see [`choose_groups`]. Evaluation waits for its programs.

    Reward functions are called in the background with one completion at a time. The first update of a run generates
    `overlap_batches + 1` batches, all from its own prompts.
    """

    args: DurationAwareConfig
    num_generations: int
    reward_funcs: list[Any]
    _rows: dict[tuple[GroupKey, int], Row]
    """This process's completions that are alive, by group and position."""
    _groups: dict[GroupKey, Group]
    """All groups that are alive; the same on every process."""

    def __init__(self, *args, **kwargs):
        self._rows, self._groups = {}, {}
        self._released: list[Row] | None = None
        self._generations = 0
        self._extra_names: set[str] = set()
        self._runner: RowRunner | None = None
        self._replays = False
        super().__init__(*args, **kwargs)
        if not self.args.overlap_execution:
            return
        for given, words in (
            (self.tools or self.environment_factories, "tools or environments"),
            (any(isinstance(func, nn.Module) for func in self.reward_funcs), "a reward model"),
            (self._is_vlm, "images"),
        ):
            if given:
                raise ConfigError(f"`overlap_execution` does not work with {words}. Set `overlap_execution=False`.")
        self._runner = RowRunner(self.reward_funcs, self.reward_func_names, getattr(self, "async_loop", None))

    def _generate_and_score_completions(self, inputs):
        assert isinstance(self.model, nn.Module)
        if self._runner is None or not self.model.training:
            return super()._generate_and_score_completions(inputs)
        self._released = self._next_rows(inputs)
        # TRL computes old log-probabilities where updates and generation are not aligned, and where vLLM generates.
        micro_steps = (self.args.steps_per_generation or 1) * self.num_iterations
        self._replays = self.args.gradient_accumulation_steps % micro_steps != 0 or (
            self.use_vllm and self.vllm_importance_sampling_correction
        )
        try:
            output = super()._generate_and_score_completions([row.inputs for row in self._released])
            output["old_per_token_logps"] = self._recorded_logps(self._released, output["completion_ids"].size(1))
        finally:
            self._released = None
        return output

    def _generate(self, prompts):
        if self._released is None:
            return super()._generate(prompts)
        rows = self._released
        tool_mask = None if rows[0].tool_mask is None else [row.tool_mask for row in rows]
        logps = None if rows[0].sampling_logps is None else [row.sampling_logps for row in rows]
        ids = [row.prompt_ids for row in rows], [row.completion_ids for row in rows]
        return *ids, tool_mask, [row.completion for row in rows], logps, {}, None, []

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        if self._released is not None and self._replays:
            self._replays = False  # the next ones are those of the reference model
            return self._recorded_logps(self._released, logits_to_keep), None, None
        return super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
        )

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        if self._released is None:
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        rows, step = self._released, self.state.global_step
        for row in rows:
            row.columns.setdefault("action_censored", row.lost)
            if row.lost:  # it ran for at least nearly as long: queues are part of it
                ran = {self.args.duration_column: row.waited_s, SECONDS_COLUMN: [row.waited_s]}
                row.columns |= {name: seconds for name, seconds in ran.items() if name in self._extra_names}
        columns: dict[str, list] = {}
        columns |= {name: [row.columns.get(name) for row in rows] for name in sorted(self._extra_names)}
        columns["action_censored"] = [row.columns["action_censored"] for row in rows]
        columns["generated_at_step"] = [row.generated_at for row in rows]
        columns["staleness"] = [step - row.generated_at for row in rows]
        columns["old_log_prob"] = [math.fsum(row.old_logps) for row in rows]
        columns["waited_s"] = [row.waited_s for row in rows]
        columns["lost"] = [row.lost for row in rows]
        for name, values in columns.items():
            self._pending_extra_logs[name].extend(values)
        for row in rows:
            for name, values in row.metrics.items():
                self._pending_metrics[name].extend(values)
        rewards = [[math.nan if reward is None else reward for reward in self._rewards_of(row)] for row in rows]
        return gather(torch.tensor(rewards, dtype=torch.float32, device=self.accelerator.device))

    def _rewards_of(self, row: Row) -> list[float | None]:
        return [None] * len(self.reward_funcs) if row.rewards is None else row.rewards

    def _recorded_logps(self, rows: list[Row], length: int) -> torch.Tensor:
        """Log-probabilities under the policies that wrote the tokens, shape `(b, T)`, 0 where there is no token."""
        logps = torch.zeros(len(rows), length)
        for row, kept in zip(logps, rows, strict=True):
            row[: len(kept.old_logps)] = torch.tensor(kept.old_logps)
        return logps.to(self.accelerator.device)

    def _next_rows(self, inputs) -> list[Row]:
        """This process's rows of the next batch: launch what is missing, then wait until enough groups are through."""
        began, warn_after_s = time.monotonic(), WAIT_WARNING_S
        need = Counter(self._layouts(len(inputs)))
        step, next_step = self.state.global_step, self.state.global_step + self.args.steps_per_batch
        while True:
            self._exchange()
            choice = choose_groups(self._groups, need, step, self.args.max_staleness, next_step)
            self._drop(choice.drop, "too stale")
            alive = Counter(group.layout for group in self._groups.values())
            if any(alive[layout] < (self.args.overlap_batches + 1) * count for layout, count in need.items()):
                self._launch(inputs)
            elif choice.train:
                break
            else:
                time.sleep(POLL_S)
                if time.monotonic() - began > warn_after_s:
                    warn_after_s *= 2
                    self._warn_of_waiting(time.monotonic() - began)
        rows = self._take(choice, len(inputs))
        self._log_overlap(choice, time.monotonic() - began)
        for key in choice.train:
            del self._groups[key]
        return rows

    def _layouts(self, local_rows: int) -> list[tuple[int, ...]]:
        """The process of each row, for every group of a generation batch."""
        processes = [process for process in range(self.accelerator.num_processes) for _ in range(local_rows)]
        size = self.num_generations
        return [tuple(processes[first : first + size]) for first in range(0, len(processes), size)]

    def _launch(self, inputs) -> None:
        """Generate a completion for each of `inputs` and start its program."""
        assert self._runner is not None
        prompt_ids, completion_ids, tool_mask, completions, logps, extra, _, _ = super()._generate(
            [example["prompt"] for example in inputs]
        )
        old_logps = self._score_tokens(prompt_ids, completion_ids)
        generation, self._generations = self._generations, self._generations + 1
        first = self.accelerator.process_index * len(inputs)
        for index, example in enumerate(inputs):
            fields = {name: values[index] if isinstance(values, list) else values for name, values in extra.items()}
            row = Row(
                group=(generation, (first + index) // self.num_generations),
                position=first + index,
                generated_at=self.state.global_step,
                inputs={**example, **fields},
                prompt_ids=list(prompt_ids[index]),
                completion_ids=list(completion_ids[index]),
                completion=completions[index],
                tool_mask=None if tool_mask is None else list(tool_mask[index]),
                sampling_logps=None if logps is None else list(logps[index]),
                old_logps=old_logps[index],
            )
            self._rows[row.group, row.position] = row
            self._runner.start(row, self.state)
        for slot, layout in enumerate(self._layouts(len(inputs))):
            self._groups[generation, slot] = Group(layout, self.state.global_step)

    def _score_tokens(self, prompt_ids: list[list[int]], completion_ids: list[list[int]]) -> list[list[float]]:
        """Log-probability of every completion token under the present policy."""
        model: Any = self.model
        checkpointing: Any = self.args.gradient_checkpointing_kwargs
        device, pad_id = self.accelerator.device, self._tokenizer.pad_token_id
        sides = []
        for ids, side in ((prompt_ids, "left"), (completion_ids, "right")):
            tokens = [torch.tensor(item) for item in ids]
            mask = [torch.ones_like(item) for item in tokens]
            sides.append((pad(tokens, padding_value=pad_id, padding_side=side), pad(mask, padding_side=side)))
        input_ids, attention_mask = (torch.cat(parts, dim=1).to(device) for parts in zip(*sides, strict=True))
        with torch.no_grad(), disable_gradient_checkpointing(model, checkpointing):
            logps, _, _ = super()._get_per_token_logps_and_entropies(
                model,
                input_ids,
                attention_mask,
                sides[1][0].size(1),
                batch_size=self.args.per_device_train_batch_size,
            )
        return [row[: len(ids)] for row, ids in zip(logps.tolist(), completion_ids, strict=True)]

    def _exchange(self) -> None:
        """Tell all processes which rows are through, and of errors; every process then knows the same."""
        error, finished = None, []
        names: set[str] = set()
        for row in self._rows.values():
            running = row.future is not None
            try:
                if collect(row) and running:
                    finished.append((row.group, row.position))
                    names.update(row.columns)
            except Exception as raised:
                error = raised
                break
        raise_together(error)
        for report, columns in gather_object([(finished, names)]):
            self._extra_names |= columns
            for key, position in report:
                self._groups[key].finished.add(position)

    def _take(self, choice: Choice, local_rows: int) -> list[Row]:
        """This process's rows of the chosen groups, in the order of the places that the groups take."""
        waiting: dict[tuple[int, ...], list[GroupKey]] = {}
        for key in choice.train:
            waiting.setdefault(self._groups[key].layout, []).append(key)
        rows = []
        for layout in self._layouts(local_rows):
            rows.extend(self._leave(waiting[layout].pop(0)))
        return rows

    def _leave(self, key: GroupKey) -> list[Row]:
        """Remove this process's rows of a group from those alive; programs that still run are stopped and lost."""
        positions = sorted(position for group, position in self._rows if group == key)
        rows = [self._rows.pop((key, position)) for position in positions]
        for row in rows:
            if row.position not in self._groups[key].finished:
                row.stop()
        return rows

    def _drop(self, keys: Sequence[GroupKey], reason: str) -> None:
        """Give up groups, and record them."""
        if not keys:
            return
        dropped = [row for key in keys for row in self._leave(key)]
        for key in keys:
            del self._groups[key]
        own = [self._record(row, reason) for row in dropped]
        records = [record for part in gather_object([own]) for record in part]
        self._metrics["train"]["overlap/dropped_rows"].append(float(len(records)))
        self._keep_lost(records)

    def _record(self, row: Row, reason: str) -> dict[str, Any]:
        return {
            **{name: row.columns.get(name) for name in sorted(self._extra_names)},
            "step": self.state.global_step,
            "prompt": row.inputs["prompt"],
            "completion": row.completion,
            "generated_at_step": row.generated_at,
            "staleness": self.state.global_step - row.generated_at,
            "old_log_prob": math.fsum(row.old_logps),
            "waited_s": row.waited_s,
            "lost": True,
            "lost_because": reason,
            "finished": row.rewards is not None,
            **dict(zip(self.reward_func_names, self._rewards_of(row), strict=True)),
        }

    def _keep_lost(self, records: list[dict[str, Any]]) -> None:
        """What becomes of completions that are never trained on; here nothing. Called on every process with the same."""

    def _warn_of_waiting(self, wait_s: float) -> None:
        """Age is counted in optimizer steps, so a run waits where every group has a program that still runs."""
        running = self._running()
        if self.accelerator.is_main_process:
            logger.warning(
                "Training has waited %.0f s: too few of the %d groups in flight are through, %d programs still run. Give "
                "programs a time limit, or raise `overlap_batches` (%d) and `max_staleness` (%d).",
                wait_s,
                len(self._groups),
                running,
                self.args.overlap_batches,
                self.args.max_staleness,
            )

    def _running(self) -> int:
        return sum(len(group.layout) - len(group.finished) for group in self._groups.values())

    def _log_overlap(self, choice: Choice, wait_s: float) -> None:
        groups = [self._groups[key] for key in choice.train]
        metrics = self._metrics["train"]
        ages = [self.state.global_step - group.generated_at for group in groups]
        size = sum(len(group.layout) for group in groups)
        metrics["overlap/wait_s"].append(wait_s)
        metrics["overlap/staleness_mean"].append(sum(ages) / len(ages))
        metrics["overlap/staleness_max"].append(float(max(ages)))
        metrics["overlap/lost_share"].append(1 - sum(len(group.finished) for group in groups) / size)
        metrics["overlap/in_flight"].append(float(self._running()))

    def train(self, *args, **kwargs):
        try:
            result = super().train(*args, **kwargs)
            self._drop(tuple(self._groups), "training ended")
            return result
        finally:
            for row in self._rows.values():
                row.stop()
            self._rows, self._groups = {}, {}

    def _save_checkpoint(self, model, trial):
        super()._save_checkpoint(model, trial)
        if self._runner is not None:
            folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            folder.mkdir(parents=True, exist_ok=True)
            self._exchange()
            state = {"generations": self._generations, "processes": self.accelerator.num_processes}
            state["groups"] = {key: (group.layout, group.generated_at) for key, group in self._groups.items()}
            state["rows"] = [row.plain() for row in self._rows.values()]
            torch.save(state, folder / self._state_file)

    @property
    def _state_file(self) -> str:
        return f"in_flight_{self.accelerator.process_index}.pt"

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if self._runner is not None and checkpoint is not None:
            self._resume_in_flight(Path(checkpoint) / self._state_file)

    def _resume_in_flight(self, path: Path) -> None:
        """Take up the completions of a checkpoint: those with a result as they are, the programs of the others anew."""
        assert self._runner is not None
        try:
            state = torch.load(path, weights_only=True)
        except Exception as error:
            state, words = None, f"{type(error).__name__}: {error}"
        else:
            if state["processes"] != self.accelerator.num_processes:
                words = (
                    f"it was written by {state['processes']} processes, and these are {self.accelerator.num_processes}"
                )
                state = None
        if not all(gather_object([state is not None])):
            logger.warning(
                "What was in flight at the checkpoint is lost on this process or another, and is generated anew (%s).",
                words if state is None else "see the other process",
            )
            return
        self._generations = state["generations"]
        self._groups = {key: Group(tuple(layout), at) for key, (layout, at) in state["groups"].items()}
        rows = [Row(**plain) for plain in state["rows"]]
        self._rows = {(row.group, row.position): row for row in rows}
        finished = [(row.group, row.position) for row in rows if row.rewards is not None]
        names = {name for row in rows for name in row.columns}
        for report, columns in gather_object([(finished, names)]):
            self._extra_names |= columns
            for key, position in report:
                self._groups[key].finished.add(position)
        for row in rows:
            if row.rewards is None:
                self._runner.start(row, self.state)
        logger.warning(
            "Resumed with %d completions in flight: %d have a result, the programs of %d are started again. An overlapped "
            "run depends on how long programs take, so it does not repeat the uninterrupted one to the bit.",
            len(rows),
            len(finished),
            len(rows) - len(finished),
        )
