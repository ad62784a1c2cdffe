"""Small tables with the faults that the generator must find."""

from __future__ import annotations

import numpy as np
import pandas as pd

ROWS = 260
WORDS = "the patient says that pain is less or more than last week and sleep good"


def houses(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """A number to predict, with an id, a constant, a copy, a leak, a date, a category and missing values."""
    rng = np.random.default_rng(seed)
    size, age = rng.uniform(40, 200, rows).round(1), rng.integers(0, 90, rows)
    quality = rng.choice(["low", "mid", "high"], rows)
    bonus = pd.Series(quality).map({"low": 0, "mid": 60, "high": 160}).to_numpy()
    price = (3 * size - 2 * age + bonus + rng.normal(0, 15, rows)).round(2)
    table = pd.DataFrame({"house_id": rng.permutation(rows) * 7 + 3, "size": size, "age": age, "quality": quality})
    table["age_again"], table["country"] = table["age"], "NL"
    table["listed"] = [f"2020-{1 + k % 12:02d}-{1 + k % 28:02d}" for k in rng.permutation(rows)]
    table["price_cents"] = price * 100
    table["price"] = price
    table.loc[rng.choice(rows, 12, replace=False), "size"] = np.nan
    return table


def visits(rows: int = 400, seed: int = 1) -> pd.DataFrame:
    """A class to predict, with subjects of several rows each, free text, and a code of the class."""
    rng = np.random.default_rng(seed)
    subject = rng.integers(0, 40, rows)
    dose, weight = rng.uniform(0, 10, rows).round(2), rng.normal(70, 10, rows).round(1)
    cured = (dose + rng.normal(0, 1.5, rows) > 0.06 * weight + 1).astype(int)
    words = np.array(WORDS.split())
    note = [" ".join(rng.choice(words, 6)) for _ in range(rows)]
    return pd.DataFrame(
        {
            "subject": [f"s{each}" for each in subject],
            "dose": dose,
            "weight": weight,
            "note": note,
            "code": np.where(cured == 1, "A", "B"),
            "cured": np.where(cured == 1, "yes", "no"),
        }
    )
