"""Logistic regression on letter groups of length 1 to 5 with marked word ends, blended with naive Bayes."""

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

train = pd.read_csv("input/train.csv", keep_default_na=False)
test = pd.read_csv("input/test.csv", keep_default_na=False)


def new_models():
    linear = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5), min_df=2, sublinear_tf=True),
        LogisticRegression(C=8.0, max_iter=60, tol=1e-3),
    )
    bayes = make_pipeline(
        CountVectorizer(analyzer="char_wb", ngram_range=(2, 4), binary=True), MultinomialNB(alpha=0.3)
    )
    return [linear, bayes]


def blend(parts, weight):
    """Geometric mean: naive Bayes is too sure of itself, which its share of the logarithm dampens."""
    mixed = np.exp(weight * np.log(parts[0]) + (1 - weight) * 0.5 * np.log(parts[1] + 1e-9))
    return mixed / mixed.sum(axis=1, keepdims=True)


fit_x, held_x, fit_y, held_y = train_test_split(
    train["word"], train["language"], test_size=0.2, random_state=0, stratify=train["language"]
)
held_out = [model.fit(fit_x, fit_y).predict_proba(held_x) for model in new_models()]
weight = min(np.linspace(0, 1, 21), key=lambda w: log_loss(held_y, blend(held_out, w)))
print(f"validation log loss: {log_loss(held_y, blend(held_out, weight)):.4f} with weight {weight:.2f}")

models = [model.fit(train["word"], train["language"]) for model in new_models()]
submission = pd.DataFrame(
    blend([model.predict_proba(test["word"]) for model in models], weight), columns=models[0].classes_
)
submission.insert(0, "id", test["id"])
submission.to_csv("submission.csv", index=False)
