"""The divergence of the policies before and after an update, against sums over the whole vocabulary."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator

from trl_mle.training.collapse.update_size import LARGEST, UpdateSize


@pytest.fixture
def size():
    return UpdateSize(Accelerator(cpu=True))


def measured(size, before, after, mask):
    """Log-probabilities, shape `(b, T)`, of the two policies on the completion's tokens."""
    mask = torch.as_tensor(mask)
    attention = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
    ids = torch.zeros_like(attention)
    size.keep(torch.as_tensor(before), (None, ids, attention, mask.shape[1]), {"compute_entropy": True})

    def forward(model, input_ids, attention_mask, kept, compute_entropy):
        assert not compute_entropy
        assert not torch.is_grad_enabled()
        torch.rand(3)  # as dropout would draw
        return torch.as_tensor(after), None, None

    return size.measure(forward)


def test_the_mean_is_over_the_tokens_of_completions(size):
    before, after = [[-1.0, -1.0, -9.0]], [[-2.0, -1.5, 0.0]]
    assert measured(size, before, after, [[1, 1, 0]]) == pytest.approx((1.0 + 0.5) / 2)


def test_tokens_of_tools_do_not_count(size):
    size.written = torch.tensor([[1, 0, 1]])
    assert measured(size, [[-1.0, -1.0, -9.0]], [[-2.0, 5.0, 0.0]], [[1, 1, 0]]) == pytest.approx(1.0)


def test_it_estimates_the_divergence_of_two_distributions(size):
    torch.manual_seed(0)
    first, second = (torch.log_softmax(torch.randn(20), dim=0) for _ in range(2))
    tokens = torch.multinomial(first.exp(), 200_000, replacement=True).view(1, -1)
    exact = float((first.exp() * (first - second)).sum())
    found = measured(size, first[tokens], second[tokens], torch.ones_like(tokens))
    assert found == pytest.approx(exact, rel=0.02)


def test_what_was_possible_and_is_no_more_counts_as_a_bounded_number(size):
    assert measured(size, [[-1.0]], [[-torch.inf]], [[1]]) == LARGEST
    assert measured(size, [[-1.0]], [[-1.0]], [[0]]) == 0.0


def test_random_numbers_of_training_are_not_drawn(size):
    state = torch.random.get_rng_state()
    measured(size, [[-1.0]], [[-1.0]], [[1]])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_each_update_is_measured_once_and_only_with_gradients(size):
    assert size.measure(None) is None
    with torch.no_grad():
        size.keep(torch.zeros(1, 1), (None, None, torch.ones(1, 2), 1), {})
    assert size.measure(None) is None
