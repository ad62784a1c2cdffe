"""DurationWeighting: settings in; weights, metrics and warnings out. And what it takes to add a rule."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from tests.support.tiny import tiny_args
from tests.training.weighting.test_diagnostics import batch_of
from trl_mle import duration_weights
from trl_mle.errors import ConfigError
from trl_mle.training.model_card import weighting_section
from trl_mle.training.weighting import rules
from trl_mle.training.weighting.actions import read_actions
from trl_mle.training.weighting.config import DurationSettings, _rules_help
from trl_mle.training.weighting.rules.inverse_inclusion import InverseInclusion
from trl_mle.training.weighting.weighting import DurationWeighting, Weights


def weighting(**settings):
    bare = {"duration_floor_s": 0.01, "duration_clip": None}  # the paper's rule
    return DurationWeighting(DurationSettings(**{**bare, **settings}))


def test_weights_are_those_of_the_pure_function():
    batch = batch_of([1.0, 2.0, 9.0], scorable=[True, True, False])
    weights = weighting(duration_clip=1.2).weigh(batch)
    assert torch.equal(weights.per_completion, duration_weights(batch.durations, clip=1.2, mask=batch.scorable))
    assert weights.per_action is None
    assert weights.metrics["duration/mean"] == 1.5


def test_actions_have_weights_of_their_own():
    actions = read_actions([[1.0, 3.0], [2.0]], None, [4, 4])
    weights = weighting().weigh(batch_of([4.0, 2.0]), actions)
    assert weights.per_action.tolist() == [0.5, 1.5, 1.0]
    assert weights.per_completion.tolist() == [1.0, 1.0]


def test_exponent_0_is_warned_of_like_no_weighting():
    run = weighting(duration_exponent=0.0)
    texts = []
    for _ in range(5):
        run.report_lost([60.0])
        texts += run.weigh(batch_of([1.0] * 31)).warnings
    (text,) = texts
    assert "duration_weighting: inverse_inclusion" in text


def test_lost_samples_count_in_the_next_training_batch_only():
    run = weighting(duration_weighting="inverse_inclusion")
    run.report_lost([3.0])
    assert run.weigh(batch_of([1.0] * 4), learning=False).metrics["duration/lost_share"] == 0.0
    assert run.weigh(batch_of([1.0] * 4)).metrics["duration/lost_share"] == pytest.approx(1 / 5)
    assert run.weigh(batch_of([1.0] * 4)).metrics["duration/lost_share"] == 0.0


def test_its_state_continues_in_another_run():
    first, second = (weighting(duration_weighting="inverse_inclusion") for _ in range(2))
    first.report_lost([2.0, 2.0])
    first.weigh(batch_of([1.0, 4.0]))
    second.load_state_dict(first.state_dict())
    batch = batch_of([1.0, 3.0])
    assert torch.equal(first.weigh(batch).per_completion, second.weigh(batch).per_completion)
    assert second.weigh(batch).metrics["duration/inclusion_min"] < 1


def test_training_that_begins_again_forgets_what_it_has_seen():
    """As after a rollback to the policy of the beginning, whose checkpoint has no durations."""
    run, state = (
        weighting(duration_weighting="inverse_inclusion"),
        SimpleNamespace(global_step=0, stateful_callbacks={}),
    )
    (calls,) = run.callbacks()
    run.report_lost([9.0])
    calls.on_train_begin(None, state, None)
    run.weigh(batch_of([1.0, 4.0]))
    calls.on_step_end(None, state, None)
    assert run.state_dict()["seconds"] == state.stateful_callbacks[calls.KEY]["seconds"] != []
    calls.on_train_begin(None, SimpleNamespace(global_step=0, stateful_callbacks={}), None)
    assert run.state_dict() == {"seconds": [], "lost": [], "lost_elsewhere": []}


def test_a_new_rule_is_one_new_file(tmp_path, monkeypatch):
    (tmp_path / "square_root.py").write_text(
        "from trl_mle.training.weighting.rules import WeightingRule\n"
        "class SquareRoot(WeightingRule):\n"
        "    def values(self, completions):\n"
        "        return completions.seconds.sqrt()\n"
        "RULE = SquareRoot()\n"
    )
    with pytest.raises(ConfigError, match="'square_root'; choose 'inverse_inclusion', 'none' or 'proportional'"):
        DurationSettings(duration_weighting="square_root").check_durations()
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(tmp_path)])
    for name, rule in rules.find_rules().items():
        monkeypatch.setitem(rules.RULES, name, rule)
    DurationSettings(duration_weighting="square_root").check_durations()
    assert duration_weights(torch.tensor([1.0, 9.0]), "square_root").tolist() == [0.5, 1.5]


def test_files_that_begin_with_an_underscore_are_no_rules_and_others_must_have_one(tmp_path, monkeypatch):
    (tmp_path / "_helpers.py").write_text("HALF = 0.5\n")
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(tmp_path)])
    assert rules.find_rules() == rules.RULES
    (tmp_path / "without_a_rule.py").write_text("HALF = 0.5\n")
    with pytest.raises(ConfigError, match=r"`RULE` of .*without_a_rule\.py is None.*Add `RULE = YourRule\(\)`"):
        rules.find_rules()


def test_help_and_messages_name_the_rules_of_the_folder(monkeypatch):
    class Other(InverseInclusion):
        summary = ""

    monkeypatch.setitem(rules.RULES, "other", Other())
    assert _rules_help().endswith("'proportional' (advantage x duration / mean duration, the paper); 'other'")
    with pytest.raises(ConfigError, match="`other` needs the probability"):
        duration_weights(torch.ones(2), "other")
    assert "collection: `measured`" in weighting_section(DurationSettings(duration_weighting="other"))


def test_a_report_shows_warnings_on_the_main_process_alone(caplog):
    weights = Weights(torch.ones(1), None, {"duration/mean": 2.0}, ["Lose fewer samples."])
    metrics = defaultdict(list)
    weights.report(metrics, main_process=False)
    assert not caplog.messages
    weights.report(metrics, main_process=True)
    assert caplog.messages == ["Lose fewer samples."]
    assert metrics == {"duration/mean": [2.0, 2.0]}


@pytest.mark.parametrize(
    "settings",
    [
        {"duration_clip": "4"},
        {"duration_floor_s": None},
        {"duration_rule": None},
        {"overlap_execution": "false"},  # a text is true
        {"logged_programs": "4"},
        {"ranked_rewards": "score_reward"},
    ],
)
def test_text_in_place_of_another_type_names_the_setting(tmp_path, settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(ConfigError, match=f"^`{name}` is {value!r}; its type is"):
        tiny_args(tmp_path, **settings)
