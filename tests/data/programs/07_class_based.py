import pandas as pd
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler


class Solver:
    def __init__(self, path):
        self.path = path
        self.scaler = StandardScaler()
        self.model = RidgeClassifier()

    def load(self):
        self.train = pd.read_csv(f"{self.path}/train.csv")
        self.test = pd.read_csv(f"{self.path}/test.csv")

    def prepare(self):
        self.columns = list(self.train.columns.difference(["id", "target"]))
        self.scaler.fit(self.train[self.columns])

    def train_model(self):
        return self.model.fit(self.scaler.transform(self.train[self.columns]), self.train["target"])

    def write(self):
        prediction = self.model.predict(self.scaler.transform(self.test[self.columns]))
        frame = pd.DataFrame({"id": self.test["id"], "target": prediction})
        frame.to_csv("submission.csv", index=False)


solver = Solver("input")
solver.load()
solver.prepare()
solver.train_model()
solver.write()
