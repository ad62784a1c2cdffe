"""How long the phases of a generation batch take."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trl import GRPOTrainer


class TimedTrainer(GRPOTrainer):
    """`trl.GRPOTrainer` whose only change is two metrics, in seconds of wall-clock time of a generation batch:
    `time/generation_s`, the policy's writing, and `time/programs_s`, the reward functions, hence instrumentation, execution
    and grading. What remains of TRL's `step_time` is learning.
    """

    _metrics: dict[str, defaultdict[str, list[float]]]

    def _generate(self, prompts) -> Any:
        with self._timed("generation"):
            return super()._generate(prompts)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        with self._timed("programs"):
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        mode = "train" if self.model is not None and self.model.training else "eval"
        self._metrics[mode][f"time/{phase}_s"].append(time.perf_counter() - began)
