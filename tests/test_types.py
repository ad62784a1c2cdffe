"""`Milestone`: wherever one is written, its plain name is written."""

import copy
import json
import pickle
import pickletools

import pyarrow as pa

from trl_mle.types import MILESTONES, Milestone

NAMES = (
    "imported_libraries",
    "loaded_data",
    "built_features",
    "defined_model",
    "trained_model",
    "evaluated_model",
    "wrote_predictions",
)


def test_milestones_are_their_names_in_order():
    assert MILESTONES == NAMES
    assert [Milestone(name) for name in NAMES] == list(MILESTONES)


def test_milestones_in_files_are_plain_strings():
    assert json.dumps(MILESTONES) == json.dumps(NAMES)
    assert f"{MILESTONES} {MILESTONES[0]}" == f"{NAMES} {NAMES[0]}"
    table = pa.table({"milestones": [list(MILESTONES)]})
    assert table.schema.field("milestones").type == pa.list_(pa.string())
    assert table.to_pylist() == [{"milestones": list(NAMES)}]


def test_a_pickle_of_milestones_does_not_need_the_package():
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        text = pickle.dumps(MILESTONES, protocol)
        assert not [arg for _, arg, _ in pickletools.genops(text) if "trl_mle" in str(arg)]
        assert pickle.loads(text) == NAMES
    assert copy.deepcopy(MILESTONES[0]) is MILESTONES[0]
