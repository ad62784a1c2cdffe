"""Words of ten European languages, from wordfreq's lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_mle.tasks.builtin.packaged_data import wordfreq_words

if TYPE_CHECKING:
    import pandas as pd

TRAIN_ROWS, TEST_ROWS, SEED = 10000, 5000, 10
LANGUAGES = ("de", "en", "es", "fi", "fr", "it", "nl", "pl", "pt", "sv")
WORDS = 1500
"""Number of words per language."""
MIN_LETTERS = 4
READ_AS_MISSING = {"null"}
"""Words that `pandas.read_csv` reads as a missing value. This trap has nothing to do with languages."""


def build() -> pd.DataFrame:
    """15,000 rows: `word` and `language`. A word of several languages has no single answer and is left out."""
    from collections import Counter

    import numpy as np
    import pandas as pd

    listed = {language: wordfreq_words(language) for language in LANGUAGES}
    languages_of = Counter(word for words in listed.values() for word in set(words))
    rng = np.random.default_rng(SEED)
    parts = []
    for language, words in listed.items():
        usable = [
            word
            for word in words
            if word.isalpha() and len(word) >= MIN_LETTERS and languages_of[word] == 1 and word not in READ_AS_MISSING
        ]
        chosen = rng.choice(len(usable), WORDS, replace=False)
        parts.append(pd.DataFrame({"word": [usable[i] for i in chosen], "language": language}))
    return pd.concat(parts, ignore_index=True)
