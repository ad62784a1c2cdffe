"""Which programs count as the same one, and as of the same kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.experience.families import _FEATURE_OF, _MODEL_OF, family_of
from trl_mle.experience.fingerprint import LONGEST, fingerprint, tokens_of

PROGRAM = 'import x\nif a == "a # b":\n    y = f( 1,2 )\n'


@pytest.mark.parametrize(
    "other",
    [
        'import x  # why\nif a=="a # b":\n    y = f(1, 2)',
        '\n\n# first\nimport x\n\n    \n#\nif  a == "a # b" :\n        # indented\n    y=f(1,2)\n\n',
        PROGRAM.replace("\n", "\r\n"),
    ],
)
def test_comments_and_spaces_make_no_difference(other):
    assert fingerprint(other) == fingerprint(PROGRAM)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('f(sep=" ")', 'f(sep="")'),
        ("if a:\n    b()\nc()", "if a:\n    b()\n    c()"),
        ("a b", "ab"),
        ("x = '# 1'", "x = '# 2'"),
        ('"""\n# a\n"""', '"""\n# b\n"""'),
        ("f(1)", "f(11)"),
        ("", "pass"),
        ("a" * (LONGEST + 1), "a" * (LONGEST + 2)),
    ],
)
def test_other_programs_are_others(one, other):
    assert fingerprint(one) != fingerprint(other)


@given(st.text(st.characters(exclude_characters="\"'")))
def test_a_comment_at_the_end_of_any_text_makes_no_difference(text):
    assert fingerprint(f"{text}\n\n  # {text.splitlines()[:1]}") == fingerprint(text)


@given(st.text(st.sampled_from("a \n\t\"'#\\(.=")), st.booleans())
def test_any_text_has_a_fingerprint_and_a_family(text, long):
    text = text * (LONGEST // 8) if long else text
    assert len(fingerprint(text)) == 16
    assert family_of(text)[0] == "other"
    assert "".join(tokens_of(text)).count("(") <= text.count("(")


@pytest.mark.parametrize(
    ("code", "family"),
    [
        ("from sklearn.linear_model import Ridge\nmodel = Ridge()", ("linear", "")),
        ("from sklearn.linear_model import Ridge, Lasso\nmodel = Lasso()", ("linear", "")),
        ("from sklearn.svm import SVR as Model\nModel()", ("svm", "")),
        ("import sklearn.svm\nsklearn.svm.SVR(C=1)", ("svm", "")),
        ("make_pipeline(StandardScaler(), PCA(2), KNeighborsRegressor())", ("neighbours", "reduce+scale")),
        ("import lightgbm as lgb\nlgb.train({}, data)", ("boosting", "")),
        ("model.train()", ("other", "")),
        ("nn.Sequential(nn.Linear(3, 4))", ("neural", "")),
        ("StackingRegressor([('a', Ridge()), ('b', RandomForestRegressor())])", ("ensemble+forest+linear", "")),
        ("Ridge(); SVR(); GaussianNB(); MLPRegressor()", ("mixed", "")),
        ("# Ridge()\nx = 'SVR()'\nRidge", ("other", "")),
        ("class MyNet: ...\nMyNet()", ("other", "")),
        ("", ("other", "")),
    ],
)
def test_families_are_the_models_that_a_program_builds(code, family):
    assert family_of(code) == family


def test_every_name_is_found():
    for name, kind in _MODEL_OF.items():
        assert family_of(f"x = {name}(1)")[0] == kind, name
    for name, kind in _FEATURE_OF.items():
        assert family_of(f"x = {name}(1)")[1] == kind, name
