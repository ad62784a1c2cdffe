"""Leaks are found whatever the numbers are, and independent columns are none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trl_mle.tasks.generate.leaks import find_leaks

ROWS = 150
seeds = st.integers(0, 2**31)
scales = st.floats(1e-6, 1e6)


def numbers(seed: int, kind: str) -> pd.Series:
    rng = np.random.default_rng(seed)
    draw = {"normal": rng.normal, "lognormal": rng.lognormal, "uniform": rng.uniform}[kind]
    return pd.Series(draw(size=ROWS))


kinds = st.sampled_from(["normal", "lognormal", "uniform"])


@settings(max_examples=6, deadline=None)
@given(seeds, kinds, scales, st.floats(-1e3, 1e3), st.booleans())
def test_an_affine_function_of_the_target_is_a_leak(seed, kind, slope, offset, falling):
    target = numbers(seed, kind)
    leak = (-slope if falling else slope) * target + offset
    assume(np.ptp(leak) > 1e-9 * max(1.0, abs(offset)))  # otherwise rounding has eaten it
    features = pd.DataFrame({"noise": numbers(seed + 1, "normal"), "leak": leak})
    assert set(find_leaks(features, target, numeric=True)) == {"leak"}


@settings(max_examples=8, deadline=None)
@given(seeds, kinds, st.sampled_from([np.exp, np.arctan, np.cbrt, lambda x: -(x**3)]), st.floats(0, 0.3))
def test_a_monotone_function_of_the_target_is_a_leak_also_with_missing_values(seed, kind, function, missing):
    target = numbers(seed, kind)
    leak = function(target)
    leak[np.random.default_rng(seed).random(ROWS) < missing] = np.nan
    assert "leak" in find_leaks(pd.DataFrame({"leak": leak}), target, numeric=True)


@settings(max_examples=8, deadline=None)
@given(seeds, st.integers(2, 8), st.booleans())
def test_another_name_of_each_class_is_a_leak(seed, classes, finer):
    rng = np.random.default_rng(seed)
    target = pd.Series(rng.integers(0, classes, ROWS))
    assume(target.nunique() > 1)
    # With `finer`, each class has two names.
    code = target * 2 + (rng.integers(0, 2, ROWS) if finer else 0)
    leak = code.map(dict(enumerate(rng.permutation([f"name {k}" for k in range(2 * classes)]))))
    features = pd.DataFrame({"leak": leak, "noise": rng.normal(size=ROWS), "coin": rng.choice(["a", "b"], ROWS)})
    assert set(find_leaks(features, target.astype(str), numeric=False)) == {"leak"}


@settings(max_examples=8, deadline=None)
@given(seeds, st.integers(2, 5))
def test_classes_that_are_intervals_of_a_column_are_found(seed, classes):
    values = numbers(seed, "lognormal")
    target = pd.qcut(values, classes, labels=False).map(lambda k: f"c{(k * 7) % classes} {k}")
    leaks = find_leaks(pd.DataFrame({"cut": values, "noise": numbers(seed + 1, "normal")}), target, numeric=False)
    assert leaks == {"cut": "the classes are intervals of it"}


@settings(max_examples=8, deadline=None)
@given(seeds, st.lists(st.sampled_from([-3.0, -1.0, 0.5, 1.0, 20.0]), min_size=2, max_size=4))
def test_the_parts_of_a_sum_do_not_all_stay(seed, weights):
    rng = np.random.default_rng(seed)
    parts = pd.DataFrame(rng.normal(size=(ROWS, len(weights))), columns=[f"part{k}" for k in range(len(weights))])
    target = (parts * weights).sum(axis=1)
    leaks = find_leaks(parts.assign(noise=rng.normal(size=ROWS)), target, numeric=True)
    assert leaks and "noise" not in leaks


def test_the_factors_of_a_product_do_not_all_stay():
    rng = np.random.default_rng(0)
    features = pd.DataFrame({"width": rng.uniform(1, 9, ROWS), "height": rng.uniform(1, 9, ROWS)})
    assert find_leaks(features, features["width"] * features["height"], numeric=True)


def test_missing_values_that_follow_the_class_are_a_leak():
    rng = np.random.default_rng(0)
    target = pd.Series(rng.choice(["no", "yes"], ROWS))
    column = pd.Series(rng.normal(size=ROWS)).where(target == "yes")
    assert list(find_leaks(pd.DataFrame({"paid": column}), target, numeric=False)) == ["paid"]


@settings(max_examples=6, deadline=None)
@given(seeds, st.floats(0.1, 2.0), st.integers(2, 6))
def test_a_good_feature_is_no_leak(seed, noise, classes):
    """Also a strong one, and also under a target with one dominant class."""
    rng = np.random.default_rng(seed + 1)  # the draws of the target are those of `seed`
    target = numbers(seed, "normal")
    feature = target + noise * rng.normal(size=ROWS)
    category = pd.Series(rng.integers(0, classes, ROWS)).astype(str)
    features = pd.DataFrame({"feature": feature, "category": category, "other": rng.normal(size=ROWS)})
    assert find_leaks(features, target, numeric=True) == {}
    rare = (target + noise * rng.normal(size=ROWS) > 1.2).astype(str)
    assume((rare == "True").sum() >= 20)
    assert find_leaks(features[["category", "other"]], rare, numeric=False) == {}


@pytest.mark.parametrize("scale", [1e-200, 1e-9, 1e200])
def test_the_scale_of_the_numbers_does_not_matter(scale):
    target = numbers(0, "normal") * scale
    assert list(find_leaks(pd.DataFrame({"leak": 3 * target}), target, numeric=True)) == ["leak"]
    assert find_leaks(pd.DataFrame({"noise": numbers(1, "normal") * scale}), target, numeric=True) == {}
