"""`MLEToolset`: the tool server, `python -m trl_mle.exports.verifiers_taskset.toolset`. verifiers starts it."""

from __future__ import annotations

import inspect
from collections import OrderedDict

import verifiers.v1 as vf

from trl_mle.config import EpisodeBudget, SandboxConfig
from trl_mle.environments import MLEEnvironment, MLESpec
from trl_mle.exports.verifiers_taskset.state import MLEState, MLEToolsetConfig
from trl_mle.sandboxes import LocalSandbox

MOST_EPISODES = 4096
"""Episodes that a server keeps. Beyond, the one that was not called for longest is forgotten."""
LOST = "the tool server no longer knows the episode: it was restarted, or has too many"


def spec_of(config: MLEToolsetConfig) -> MLESpec:
    """Tasks, budget and sandbox of a server. The sandbox opens with its first program.

    Raises:
        UserError: there is no such task, or a setting cannot work.
    """
    sandbox = LocalSandbox(SandboxConfig(workers=config.workers, isolation=config.isolation))  # type: ignore[arg-type]  # checked there
    budget = EpisodeBudget(runs=config.runs, seconds=config.seconds)
    return MLESpec(config.tasks, budget=budget, sandbox=sandbox, show_public_score=config.show_public_score)


class MLEToolset(vf.Toolset[MLEToolsetConfig, MLEState]):
    """`run_program` and `submit` for all rollouts of an environment worker, in one sandbox."""

    TOOL_PREFIX = None  # the prompt names the tools without a prefix

    async def setup(self) -> None:
        """Load the tasks."""
        self._spec = spec_of(self.config)
        self._exit_stack.push_async_callback(self._spec.aclose)
        self._environments: OrderedDict[str, MLEEnvironment] = OrderedDict()

    @vf.tool
    async def run_program(self, code: str) -> str:
        environment = self._environment()
        if environment is None:
            return self._lose()
        text = await environment.run_program(code)
        self._note(environment)
        return text

    @vf.tool
    async def submit(self) -> str:
        environment = self._environment()
        if environment is None:
            return self._lose()
        text = await environment.submit()
        self._note(environment)
        return text

    run_program.__doc__ = inspect.getdoc(MLEEnvironment.run_program)
    submit.__doc__ = inspect.getdoc(MLEEnvironment.submit)

    def _environment(self) -> MLEEnvironment | None:
        """The environment of the calling rollout. `None` if it is lost: a new one would give the rollout another budget."""
        name = self.state.episode
        found = self._environments.get(name)
        if found is None:
            if self.state.calls or not name:
                return None
            found = self._spec.environment_factory()
            found.reset(task=self.state.task)
            self._environments[name] = found
            if len(self._environments) > MOST_EPISODES:
                self._environments.popitem(last=False)
        self._environments.move_to_end(name)
        return found

    def _note(self, environment: MLEEnvironment) -> None:
        episode = environment.episode
        state = self.state
        state.calls = len(episode.turns)
        state.programs = len(episode.programs)
        state.seconds = episode.seconds or 0.0
        state.value = episode.outcome.reward
        state.valid = episode.outcome.kind == "valid"
        state.over, state.fault = episode.over, episode.fault

    def _lose(self) -> str:
        self.state.calls += 1
        self.state.over, self.state.fault, self.state.value = "fault", LOST, None
        return "The environment failed."


if __name__ == "__main__":
    MLEToolset.run()
