"""Marks in output: found with the right nonce only, and removed without a trace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.errors import UserError
from trl_mle.instrumentation import mark, new_nonce, parse_milestones, strip_marks
from trl_mle.types import MILESTONES

NONCE = "0123456789abcdef0123456789abcdef"
KEYS = tuple(mark(NONCE, milestone).split(":")[1] for milestone in MILESTONES)


def test_a_nonce_has_128_bits_and_is_new_each_time():
    nonces = {new_nonce() for _ in range(100)}
    assert len(nonces) == 100
    assert all(len(nonce) == 32 and int(nonce, 16) >= 0 for nonce in nonces)


def test_milestones_are_listed_once_in_their_order():
    out = f"{mark(NONCE, 'trained_model')}\nloss 3\n{mark(NONCE, 'loaded_data')}\n{mark(NONCE, 'trained_model')}\n"
    assert parse_milestones(out, NONCE) == ("loaded_data", "trained_model")


def test_text_without_the_nonce_counts_for_nothing():
    forged = mark("f" * 32, "trained_model")
    text = f"trained_model\n{forged}\n[[trl_mle::trained_model]]\n[[trl_mle:{NONCE}:no_such]]\n[[trl_mle:{NONCE}:"
    assert parse_milestones(text, NONCE) == ()
    assert forged in strip_marks(text, NONCE)


@pytest.mark.parametrize("nonce", ["", "short", "x" * 129, "with space in it....", 'quote"quote"quote"', 3, None])
def test_unusable_nonce(nonce):
    with pytest.raises(UserError, match="Nonce"):
        mark(nonce, "loaded_data")
    with pytest.raises(UserError, match="Nonce"):
        strip_marks("", nonce)


def test_one_mark_tells_nothing_about_another():
    assert len(set(KEYS)) == len(MILESTONES)
    assert not any(NONCE[:8] in key for key in KEYS)
    learned = mark(NONCE, "loaded_data").replace("loaded_data", "wrote_predictions")
    assert parse_milestones(learned, NONCE) == ()


def test_unknown_milestone_names_the_choices():
    with pytest.raises(UserError, match=r"won_the_competition.*wrote_predictions"):
        mark(NONCE, "won_the_competition")


@given(
    pieces=st.lists(
        st.one_of(st.text(), st.sampled_from(["\n", "[[trl_mle:", "]]", *KEYS, "\r\n"])), min_size=1, max_size=8
    ),
    milestones=st.lists(st.sampled_from(MILESTONES), min_size=7, max_size=7),
)
def test_stripping_restores_what_the_program_wrote(pieces, milestones):
    original = "".join(pieces)
    marked = pieces[0] + "".join(
        f"{mark(NONCE, milestone)}\n{piece}" for milestone, piece in zip(milestones, pieces[1:], strict=False)
    )
    if not original.endswith(KEYS):
        assert strip_marks(marked, NONCE) == original
        assert set(parse_milestones(marked, NONCE)) == set(milestones[: len(pieces) - 1])


@given(st.sampled_from(MILESTONES), st.integers(20, 70))
def test_a_mark_cut_by_the_output_limit_is_removed(milestone, length):
    whole = f"epoch 1\n{mark(NONCE, milestone)}\n"
    assert strip_marks(whole[: 8 + length], NONCE) == "epoch 1\n"
