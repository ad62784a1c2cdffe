"""The key `transform` of `task.yaml`: what is read equals what was written, and errors name file, value and fix."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.errors import TaskError
from trl_mle.tasks.transform_yaml import read_transform, transform_value
from trl_mle.types import ScoreTransform

finite = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture
def yaml_path(tmp_path):
    (tmp_path / "private").mkdir()
    return tmp_path / "task.yaml"


@given(st.lists(finite, min_size=1), st.none() | finite, st.sampled_from(["own", "accuracy"]))
def test_what_is_written_is_read(tmp_path_factory, leaderboard, optimum, metric):
    optimum = 1.0 if metric == "accuracy" else optimum
    path = tmp_path_factory.getbasetemp() / "task.yaml"
    for transform in (
        ScoreTransform(optimum=optimum),
        ScoreTransform("linear", 0.5, 2.0, optimum),
        ScoreTransform("log", 0.5, 2.0, optimum),
        ScoreTransform("percentile", optimum=optimum, leaderboard=tuple(leaderboard)),
    ):
        assert read_transform(path, transform_value(transform, metric), "maximize", metric) == transform


def test_the_leaderboard_may_be_a_file_in_the_private_folder(yaml_path):
    (yaml_path.parent / "private" / "board.csv").write_text("team,score\na,0.5\nb,0.25\nc,0.5\n")
    transform = read_transform(yaml_path, {"kind": "percentile", "leaderboard": "board.csv"}, "minimize", "rmse")
    assert transform == ScoreTransform("percentile", optimum=0.0, leaderboard=(0.5, 0.25, 0.5))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "transform.leaderboard is None; write a list of scores"),
        ({"leaderboard": []}, "write a list of scores"),
        ({"leaderboard": [0.1, "x"]}, "has the score 'x'; write finite numbers"),
        ({"leaderboard": [0.1, float("nan")]}, "has the score nan"),
        ({"leaderboard": [True]}, "has the score True"),
        ({"leaderboard": "../answers.csv"}, r"is '\.\./answers\.csv'; write the name of a file in .*private"),
        ({"leaderboard": "none.csv"}, r"none\.csv cannot be read: No such file"),
        ({"leaderboard": "bad.csv"}, r"bad\.csv has the score 'high'"),
        ({"leaderboard": "empty.csv"}, r"empty\.csv has no column 'score'"),
        ({"leaderboard": [0.1], "worst": 1}, "'percentile' takes no worst and best"),
        (
            {"leaderboard": [0.1], "optimum": "low"},
            "transform.optimum is 'low'; write the score of a perfect submission",
        ),
        ({"leaderboard": [0.1], "optimum": 1}, "transform.optimum is 1, but that of rmse is 0; leave the key out"),
        ({"kind": "linear", "worst": 2, "best": 1, "leaderboard": [1]}, "'linear' takes no leaderboard"),
    ],
)
def test_a_wrong_leaderboard_or_optimum(yaml_path, value, message):
    (yaml_path.parent / "private" / "bad.csv").write_text("score\n0.5\nhigh\n")
    (yaml_path.parent / "private" / "empty.csv").write_text("")
    with pytest.raises(TaskError) as caught:
        read_transform(yaml_path, {"kind": "percentile", **value}, "minimize", "rmse")
    assert re.search(message, str(caught.value)), str(caught.value)
