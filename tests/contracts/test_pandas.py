"""The words that pandas takes for missing values: the package lists them, because pandas keeps its list private."""

from pandas._libs.parsers import STR_NA_VALUES

from trl_mle.grading.values import MISSING_WORDS


def test_the_words_are_those_of_pandas():
    assert MISSING_WORDS | {""} == STR_NA_VALUES
