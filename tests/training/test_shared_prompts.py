"""Prompts that are read once: the same log-probabilities, gradients and trainings as with a pass for each row."""

from __future__ import annotations

import logging

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, set_seed

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from tests.support.training_runs import letters, train
from trl_mle import DurationAwareConfig, DurationAwareTrainer
from trl_mle.errors import ConfigError
from trl_mle.training.shared_prompts import distinct_prompts, obstacle

PROMPTS = (list(range(10, 40)), list(range(50, 61)), list(range(10, 39)))
COMPLETION = 6


def trainer_of(folder, model=None, **changes):
    return DurationAwareTrainer(
        model=model or tiny_model(),
        reward_funcs=letters,
        args=tiny_args(folder, duration_weighting="none", **changes),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )


def sharp_model():
    """A model whose attention depends much on the positions."""
    model = tiny_model()
    for weight in model.parameters():
        weight.data *= 15.0 if weight.dim() > 1 else 1.0
    return model


def batch_of(order):
    """Rows with the prompts of these numbers, padded as TRL pads."""
    width = max(len(PROMPTS[number]) for number in order)
    rows = [[0] * (width - len(PROMPTS[number])) + PROMPTS[number] for number in order]
    mask = [[int(token > 0) for token in row] for row in rows]
    completions = torch.randint(5, 250, (len(order), COMPLETION), generator=torch.Generator().manual_seed(0))
    ends = torch.arange(len(order)) % COMPLETION + 1
    kept = (torch.arange(COMPLETION) < ends[:, None]).long()
    return torch.cat([torch.tensor(rows), completions], dim=1), torch.cat([torch.tensor(mask), kept], dim=1)


def tokens_read(model):
    """A list that grows by the number of tokens of each forward pass."""
    seen = []
    model.get_input_embeddings().register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].numel()))
    return seen


def computed(trainer, order, **options):
    """Log-probabilities, entropies, and the gradient of some function of them."""
    ids, mask = batch_of(order)
    trainer.model.zero_grad()
    logps, entropies, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model, ids, mask, COMPLETION, compute_entropy=True, **options
    )
    kept = mask[:, -COMPLETION:]
    (logps * kept * torch.linspace(-1, 1, logps.numel()).view_as(logps)).sum().backward()
    gradients = {name: weight.grad.clone() for name, weight in trainer.model.named_parameters()}
    return logps.detach() * kept, entropies.detach() * kept, gradients


@pytest.mark.parametrize("order", [(0,) * 8, (0, 1, 0, 2, 1, 0), (1, 1, 0)], ids=["one", "three", "padded"])
@pytest.mark.parametrize("chunk", [None, 2], ids=["whole", "chunks"])
def test_as_separate_passes(tmp_path, order, chunk):
    ours, theirs = trainer_of(tmp_path, sharp_model(), share_prompts=True), trainer_of(tmp_path, sharp_model())
    read = tokens_read(ours.model)
    computed(ours, order)  # compares both ways
    read.clear()
    found, expected = computed(ours, order, batch_size=chunk), computed(theirs, order, batch_size=chunk)
    width = max(len(PROMPTS[number]) for number in order)
    if chunk is None:
        assert sum(read) == len(set(order)) * (width - 1) + len(order) * (COMPLETION + 1)
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    assert torch.allclose(found[1], expected[1], atol=1e-5)
    for name, gradient in expected[2].items():
        assert torch.allclose(found[2][name], gradient, rtol=1e-3, atol=1e-5), name


def test_a_training_is_the_same_up_to_rounding(tmp_path):
    _, ours, weights = train(
        DurationAwareTrainer, tiny_args(tmp_path, duration_weighting="none", share_prompts=True), letters
    )
    _, theirs, expected = train(DurationAwareTrainer, tiny_args(tmp_path, duration_weighting="none"), letters)
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert all(torch.allclose(weights[name], value, atol=1e-3) for name, value in expected.items())


def test_completions_that_are_all_masked_decide_nothing(tmp_path, caplog):
    ours = trainer_of(tmp_path, share_prompts=True)
    ids, mask = batch_of((0, 0))
    mask[:, -COMPLETION:] = 0
    with caplog.at_level(logging.WARNING), torch.no_grad():
        ours._get_per_token_logps_and_entropies(ours.model, ids, mask, COMPLETION)
    read = tokens_read(ours.model)
    computed(ours, (0, 0))
    computed(ours, (0, 0))
    assert "share_prompts" not in caplog.text
    assert sum(read[-2:]) == len(PROMPTS[0]) - 1 + 2 * (COMPLETION + 1)


def test_dropout_does_not_hide_that_both_ways_agree(tmp_path, caplog):
    model = tiny_model()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    ours = trainer_of(tmp_path, model, share_prompts=True)
    ours.model.train()
    with caplog.at_level(logging.WARNING):
        computed(ours, (0, 0))
    assert "share_prompts" not in caplog.text
    assert all(module.training for module in ours.model.modules())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: setattr(model.config, "output_router_logits", True), "output_router_logits"),
        (lambda model: model.config.rope_parameters.update(rope_type="longrope"), "longrope"),
        (lambda model: model.gradient_checkpointing_enable(), "gradient_checkpointing"),
    ],
    ids=["experts", "positions", "checkpointing"],
)
def test_models_that_cannot_go_on_from_a_prompt(change, reason):
    model = tiny_model()
    assert obstacle(model) is None
    change(model)
    assert reason in obstacle(model)


def test_a_model_with_another_state_is_read_row_by_row(tmp_path, caplog):
    set_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(**{**tiny_model().config.to_dict(), "use_sliding_window": True, "sliding_window": 8,
                       "max_window_layers": 0, "layer_types": ["sliding_attention"] * 2})
    )  # fmt: skip
    ours = trainer_of(tmp_path, model, share_prompts=True)
    with caplog.at_level(logging.WARNING):
        computed(ours, (0, 0))
        computed(ours, (0, 0))
    assert [record.message for record in caplog.records if "share_prompts" in record.message] == [
        "`share_prompts` has no effect on this model: it keeps more than keys and values of a prompt."
    ]
    ours.train()


def test_a_model_that_computes_something_else_is_read_row_by_row(tmp_path, caplog):
    ours = trainer_of(tmp_path, share_prompts=True)
    plain = computed(trainer_of(tmp_path), (0, 0))

    def wrong(module, arguments, options):
        if options.get("cache") is not None or options.get("past_key_values") is not None:
            options["input_ids"] = options["input_ids"] + 1
        return arguments, options

    ours.model.model.register_forward_pre_hook(wrong, with_kwargs=True)
    with caplog.at_level(logging.WARNING):
        found = computed(ours, (0, 0))
    assert "differ by" in caplog.text
    assert torch.equal(found[0], plain[0])


@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
def test_settings_that_exclude_each_other(tmp_path, name):
    if name not in DurationAwareConfig.__dataclass_fields__:
        pytest.skip("this version of transformers does not have the setting")
    with pytest.raises(ConfigError, match="checkpointing"):
        trainer_of(tmp_path, share_prompts=True, **{"gradient_checkpointing": False, name: True})


def test_prompts_that_differ_have_nothing_to_share():
    ids = torch.tensor([[1, 2], [3, 4]])
    assert distinct_prompts(ids, torch.ones_like(ids)) is None
    # The same tokens with other padding are another prompt.
    assert distinct_prompts(torch.tensor([[0, 2], [0, 2]]), torch.tensor([[0, 1], [1, 1]])) is None
    assert distinct_prompts(torch.tensor([[1], [1]]), torch.ones(2, 1)) is None
