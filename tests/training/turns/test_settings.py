"""Which settings there are, and where TRL's own loop runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.support.tiny import tiny_args
from trl_mle.environments import EpisodeReward
from trl_mle.errors import ConfigError
from trl_mle.training.turns.lockstep import generation_is_collective
from trl_mle.training.turns.settings import TurnSettings
from trl_mle.training.turns.tool_rollouts import ToolRollouts, tool_rollouts_of


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"tool_rollouts": "parallel"},
            "`tool_rollouts` is 'parallel'; choose 'together', 'independent' or 'sequential'",
        ),
        ({"tool_timeout_s": 0}, "`tool_timeout_s` is 0; it is a number of seconds above 0"),
        ({"tool_rollouts": "sequential", "tool_timeout_s": 5.0}, "which has no limit. Set `tool_rollouts: together`"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        TurnSettings(**settings).check_turns()


def test_the_trainer_checks_them(tmp_path):
    with pytest.raises(ConfigError, match="`tool_rollouts` is 'parallel'"):
        tiny_args(tmp_path, tool_rollouts="parallel")


def trainer(processes: int = 1, *, use_vllm: bool = False, is_vlm: bool = False, stage: int | None = None, **settings):
    state = SimpleNamespace(deepspeed_plugin=stage and SimpleNamespace(zero_stage=stage))
    vllm = {"vllm_mode": "colocate", "vllm_tensor_parallel_size": 1, "vllm_enable_sleep_mode": False}
    return SimpleNamespace(
        tools=["a tool"],
        reward_funcs=[len],
        _is_vlm=is_vlm,
        use_vllm=use_vllm,
        accelerator=SimpleNamespace(num_processes=processes, state=state),
        args=SimpleNamespace(**{"tool_rollouts": "together", "tool_timeout_s": None, **vllm, **settings}),
    )


def test_trl_runs_its_own_loop_without_tools_and_where_it_is_asked_to():
    assert isinstance(tool_rollouts_of(trainer()), ToolRollouts)
    assert tool_rollouts_of(trainer(tool_rollouts="sequential")) is None
    without = trainer()
    without.tools = []
    assert tool_rollouts_of(without) is None


def test_programs_with_limits_of_their_own_are_not_cut_off():
    each = trainer(tool_timeout_s=5.0)
    assert isinstance(tool_rollouts_of(each), ToolRollouts)
    reward = EpisodeReward(SimpleNamespace(__name__="mle_reward", model_card_sections=dict))
    for functions in ([reward], reward.parts()):
        each.reward_funcs = functions
        with pytest.raises(ConfigError, match=r"`tool_timeout_s` is 5\.0, but the programs of an `MLESpec`"):
            tool_rollouts_of(each)


def test_models_with_images_say_that_settings_have_no_effect(caplog):
    assert tool_rollouts_of(trainer(is_vlm=True)) is None
    assert not caplog.records
    assert tool_rollouts_of(trainer(is_vlm=True, tool_rollouts="independent")) is None
    assert "have no effect with images" in caplog.text


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (trainer(), False),
        (trainer(use_vllm=True, vllm_mode="server"), False),
        (trainer(2), False),
        (trainer(2, stage=2), False),
        (trainer(2, stage=3), True),
        (trainer(2, use_vllm=True), False),
        (trainer(2, use_vllm=True, stage=3), False),
        (trainer(2, use_vllm=True, stage=3, vllm_enable_sleep_mode=True), True),
        (trainer(2, use_vllm=True, vllm_tensor_parallel_size=2), True),
        (trainer(2, use_vllm=True, vllm_mode="server"), True),
    ],
)
def test_where_all_processes_take_part_in_a_generation(made, expected):
    assert generation_is_collective(made) is expected


def test_independent_rollouts_advance_together_where_generation_is_shared(caplog):
    rollouts = ToolRollouts(trainer(2, stage=3, tool_rollouts="independent"))
    assert not rollouts._independent
    assert "Rollouts advance together instead." in caplog.text
