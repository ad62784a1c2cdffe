from __future__ import annotations

import os
import random
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)


@dataclass
class Solution:
    input_dir: str = "input"
    seed: int = 2024
    numeric: list[str] = field(default_factory=lambda: ["speed", "hd", "ram", "screen", "ads", "trend"])
    categorical: list[str] = field(default_factory=lambda: ["cd", "multi", "premium"])

    def load_data(self) -> None:
        self.train = pd.read_csv(os.path.join(self.input_dir, "train.csv"))
        self.test = pd.read_csv(os.path.join(self.input_dir, "test.csv"))

    def build_model(self) -> Pipeline:
        pre = ColumnTransformer([
            ("num", StandardScaler(), self.numeric),
            ("cat", OneHotEncoder(handle_unknown="ignore"), self.categorical),
        ])
        return Pipeline([("pre", pre), ("est", ExtraTreesRegressor(n_estimators=30, random_state=self.seed))])

    def validate(self) -> float:
        scores = []
        for tr, va in KFold(3, shuffle=True, random_state=self.seed).split(self.train):
            pipe = self.build_model()
            pipe.fit(self.train.iloc[tr], self.train.price.iloc[tr])
            scores.append(mean_squared_error(self.train.price.iloc[va], pipe.predict(self.train.iloc[va])) ** 0.5)
        return float(np.mean(scores))

    def predict(self) -> np.ndarray:
        pipe = self.build_model()
        pipe.fit(self.train, self.train.price)
        return pipe.predict(self.test)

    def run(self) -> None:
        seed_everything(self.seed)
        self.load_data()
        print("cv rmse:", round(self.validate(), 2))
        self.save(self.predict())

    def save(self, pred: np.ndarray) -> None:
        pd.DataFrame({"id": self.test.id, "price": pred}).to_csv("submission.csv", index=False)


Solution().run()
